package ledger

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/queries"
)

// LastID returns the greatest messageId of the mirror, "" if it is empty.
// A row whose messageId is greater has not been delivered.
func (l *Ledger) LastID(ctx context.Context) (string, error) {
	return ask(ctx, l, "reading the last id", plain(l.q.MirrorLast), struct{}{})
}

// Delivered returns which of the messageIds are in the mirror, as whatever kind of
// event, and perhaps others that are.
//
// The ids of a page lie close together, for they begin with the time. So what the mirror has
// between the least and the greatest of them is read in the index's order, which is many times
// quicker than a search for each; only where there is much else between them is it searched.
func (l *Ledger) Delivered(ctx context.Context, ids []string) (map[string]struct{}, error) {
	var found map[string]struct{}
	err := l.patiently(ctx, func(ctx context.Context) (err error) {
		found, err = l.delivered(ctx, ids, nil)
		return err
	})
	return found, err
}

// delivered is Delivered with something to do in the same transaction if any of the ids was found.
func (l *Ledger) delivered(ctx context.Context, ids []string, note func(context.Context, pgx.Tx) error) (map[string]struct{}, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var found map[string]struct{}
	err := postgres.InTx(ctx, l.pool, l.ask, func(tx pgx.Tx) (err error) {
		found, err = l.find(ctx, tx, ids)
		if err == nil && note != nil && slices.ContainsFunc(ids, func(id string) bool { _, there := found[id]; return there }) {
			err = note(ctx, tx)
		}
		return err
	})
	if err != nil && !errors.Is(err, errHeld) {
		err = l.explain(err, "asking schema %q what was delivered", l.id.Schema)
	}
	return found, err
}

func (l *Ledger) find(ctx context.Context, tx pgx.Tx, ids []string) (map[string]struct{}, error) {
	found := map[string]struct{}{}
	most := 2*len(ids) + 100
	between, err := l.q.MirrorBetween(ctx, tx, queries.MirrorBetweenParams{First: slices.Min(ids), Last: slices.Max(ids), Count: int32(most)})
	if err != nil {
		return nil, err
	}
	if between.Rows < int64(most) {
		for id := range strings.SplitSeq(between.Ids, ",") {
			found[id] = struct{}{}
		}
		return found, nil
	}
	delivered, err := l.q.MirrorDelivered(ctx, tx, ids)
	for _, id := range delivered {
		found[id] = struct{}{}
	}
	return found, err
}

// KnownReject is what is known of a row that was rejected before.
type KnownReject struct {
	Reason, Detail string
	Attempts       int32
}

// KnownRejects returns those of the rows that were rejected before, by the row's
// id.
func (l *Ledger) KnownRejects(ctx context.Context, interactionIDs []string) (map[string]KnownReject, error) {
	var known map[string]KnownReject
	err := l.patiently(ctx, func(ctx context.Context) (err error) {
		known, err = l.knownRejects(ctx, interactionIDs, nil)
		return err
	})
	return known, err
}

func (l *Ledger) knownRejects(ctx context.Context, interactionIDs []string, note func(context.Context, pgx.Tx) error) (map[string]KnownReject, error) {
	known := map[string]KnownReject{}
	if len(interactionIDs) == 0 {
		return known, nil
	}
	keys := map[string]string{}
	for _, id := range interactionIDs {
		keys[rejectKey(id)] = id
	}
	err := postgres.InTx(ctx, l.pool, l.ask, func(tx pgx.Tx) error {
		rows, err := l.q.RejectsKnown(ctx, tx, slices.Collect(maps.Keys(keys)))
		for _, row := range rows {
			known[keys[row.InteractionID]] = KnownReject{Reason: row.Reason, Detail: row.Detail, Attempts: row.Attempts}
		}
		if err == nil && note != nil && len(rows) > 0 {
			err = note(ctx, tx)
		}
		return err
	})
	if err != nil && !errors.Is(err, errHeld) {
		err = l.explain(err, "looking for rejects of schema %q", l.id.Schema)
	}
	return known, err
}
