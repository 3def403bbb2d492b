package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/queries"
)

// MirrorTable is one of the mirror's tables.
type MirrorTable string

// The tables of the mirror. A view stands in the first, an interaction in both of the others.
const (
	Screens      MirrorTable = "screens"
	Tracks       MirrorTable = "tracks"
	Interactions MirrorTable = interactionTable
)

// Fingerprint counts rows of a table of the mirror, and sums up what stands for the values of each: queries/verify.sql
// says how.
type Fingerprint struct {
	// Day is in UTC, "" for a time that no row may have.
	Day string
	// InteractionID is the export's id, "" if the fingerprint is of a day.
	InteractionID string
	Rows          int64
	// Sum is over the values that came from the row: tracks has none, Common over the columns that tracks and
	// tutorial_interaction share.
	Sum, Common string
	// Wrong counts rows of which a constant or the messageId is not as it should be.
	Wrong int64
}

// Prints say what fingerprints are made of.
type Prints struct {
	// From and To bound the time of the events; nil = open.
	From, To *time.Time
	// NoDay takes only times that no row may have.
	NoDay bool
	// Quick leaves out all but id and time.
	Quick bool
	// Namespace is that of the messageIds.
	Namespace uuid.UUID
}

// reading is which rows are read.
type reading struct {
	first, end, after *string
	byRow             bool
	limit             int32
}

// beforePrints is for sums of groups of which the planner can't know how few there are: with less memory it
// sorts every row.
const beforePrints = "; set local work_mem = '256MB'; set local jit = off; set local plan_cache_mode = force_custom_plan"

func (l *Ledger) prints(ctx context.Context, table MirrorTable, p Prints, r reading) (list []Fingerprint, err error) {
	heavy := *l
	heavy.begin += beforePrints
	all := queries.VerifyScreensParams{
		ByRow: r.byRow, Quick: p.Quick, Namespace: p.Namespace, FirstID: r.first, EndID: r.end,
		RangeFrom: p.From, RangeTo: p.To, NoDay: p.NoDay, After: r.after, Count: r.limit,
	}
	err = heavy.inTx(ctx, "computing fingerprints", func(tx pgx.Tx) error {
		switch table {
		case Screens:
			rows, err := l.q.VerifyScreens(ctx, tx, all)
			list = each(rows, func(f queries.VerifyScreensRow) Fingerprint {
				return Fingerprint{Day: f.Day, InteractionID: f.InteractionID, Rows: f.Rows, Sum: f.Sum, Common: "0", Wrong: f.Wrong}
			})
			return err
		case Interactions:
			rows, err := l.q.VerifyInteractions(ctx, tx, queries.VerifyInteractionsParams(all))
			list = each(rows, func(f queries.VerifyInteractionsRow) Fingerprint { return Fingerprint(f) })
			return err
		}
		rows, err := l.q.VerifyTracks(ctx, tx, queries.VerifyTracksParams{
			ByRow: r.byRow, Quick: p.Quick, FirstID: r.first, EndID: r.end, RangeFrom: p.From, RangeTo: p.To, NoDay: p.NoDay, After: r.after, Count: r.limit,
		})
		list = each(rows, func(f queries.VerifyTracksRow) Fingerprint {
			return Fingerprint{Day: f.Day, InteractionID: f.InteractionID, Rows: f.Rows, Sum: "0", Common: f.Common}
		})
		return err
	})
	return list, err
}

// Fingerprints computes, in the server, the fingerprints of a table per day, piece by piece; do gets
// those of a piece.
func (l *Ledger) Fingerprints(ctx context.Context, table MirrorTable, p Prints, do func([]Fingerprint)) error {
	span, err := l.span(ctx)
	if err != nil {
		return err
	}
	return postgres.InPieces(ctx, span, func(ctx context.Context, from, to *time.Time) error {
		list, err := l.prints(ctx, table, p, reading{first: prefix(from), end: prefix(to), limit: math.MaxInt32})
		if err == nil {
			do(list)
		}
		return err
	})
}

// prefix is what the messageIds of a time begin with.
func prefix(at *time.Time) *string {
	if at == nil {
		return nil
	}
	return new(event.IDPrefix(*at))
}

// span is from when to when the mirror's messageIds are.
func (l *Ledger) span(ctx context.Context) (span postgres.Span, err error) {
	bounds, err := ask(ctx, l, "looking for the first row", plain(l.q.VerifyBounds), struct{}{})
	if err != nil || bounds.First == "" {
		return span, err
	}
	var ok bool
	if _, span.From, ok = event.ParseMessageID(bounds.First); !ok {
		span.From = time.Unix(0, 0)
	}
	if _, span.To, ok = event.ParseMessageID(bounds.Last); !ok {
		span.To = time.Now()
	}
	return span, nil
}

// RowPrints reads a page of fingerprints of a table, of each row of the export by itself, in the order of the bytes of
// their ids, after the one given.
func (l *Ledger) RowPrints(ctx context.Context, table MirrorTable, p Prints, after *string, limit int32) ([]Fingerprint, error) {
	return l.prints(ctx, table, p, reading{after: after, byRow: true, limit: limit})
}

// Elsewhere finds the messageIds under which rows of the export stand in the mirror, by their own ids,
// for which there is no index. A row may stand there more than once.
func (l *Ledger) Elsewhere(ctx context.Context, interactionIDs []string) (map[string][]string, error) {
	found := map[string][]string{}
	rows, err := ask(ctx, l, "looking for rows", l.q.VerifyElsewhere, interactionIDs)
	for _, row := range rows {
		found[row.InteractionID] = append(found[row.InteractionID], row.ID)
	}
	return found, err
}

// Held is what the mirror holds under a messageId: the columns of its rows by table, as Postgres makes JSON of them.
type Held map[MirrorTable]map[string]any

// Held returns what the mirror holds under each of the messageIds.
func (l *Ledger) Held(ctx context.Context, ids []string) (map[string]Held, error) {
	found := map[string]Held{}
	rows, err := ask(ctx, l, "reading rows of the mirror", l.q.VerifyMirrored, ids)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		columns := map[string]any{}
		decoder := json.NewDecoder(bytes.NewReader(row.Mirrored))
		decoder.UseNumber() // A bigint is no float.
		if err := decoder.Decode(&columns); err != nil {
			return nil, fault.Wrap(fault.Failed, err, "reading row %q of the mirror", row.ID)
		}
		if found[row.ID] == nil {
			found[row.ID] = Held{}
		}
		found[row.ID][MirrorTable(row.Relation)] = columns
	}
	return found, nil
}
