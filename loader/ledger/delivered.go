package ledger

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

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
	if len(ids) == 0 {
		return nil, nil
	}
	found := map[string]struct{}{}
	err := pgx.BeginTxFunc(ctx, l.pool, pgx.TxOptions{BeginQuery: l.ask}, func(tx pgx.Tx) error {
		most := 2*len(ids) + 100
		between, err := l.q.MirrorBetween(ctx, tx, queries.MirrorBetweenParams{First: slices.Min(ids), Last: slices.Max(ids), Count: int32(most)})
		if err != nil {
			return err
		}
		if between.Rows < int64(most) {
			found = make(map[string]struct{}, between.Rows)
			for id := range strings.SplitSeq(between.Ids, ",") {
				found[id] = struct{}{}
			}
			return nil
		}
		delivered, err := l.q.MirrorDelivered(ctx, tx, ids)
		for _, id := range delivered {
			found[id] = struct{}{}
		}
		return err
	})
	if err != nil {
		return nil, l.explain(err, "asking schema %q what was delivered", l.id.Schema)
	}
	return found, nil
}

// KnownReject is what is known of a row that was rejected before.
type KnownReject struct {
	Reason, Detail string
	Attempts       int32
}

// KnownRejects returns those of the rows that were rejected before, by the row's
// id.
func (l *Ledger) KnownRejects(ctx context.Context, interactionIDs []string) (map[string]KnownReject, error) {
	known := map[string]KnownReject{}
	if len(interactionIDs) == 0 {
		return known, nil
	}
	keys := map[string]string{}
	for _, id := range interactionIDs {
		keys[rejectKey(id)] = id
	}
	rows, err := ask(ctx, l, "looking for rejects", l.q.RejectsKnown, slices.Collect(maps.Keys(keys)))
	for _, row := range rows {
		known[keys[row.InteractionID]] = KnownReject{Reason: row.Reason, Detail: row.Detail, Attempts: row.Attempts}
	}
	return known, err
}
