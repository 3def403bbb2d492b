package ledger

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/failpoint"
	"github.com/candu-loader/candu-loader/queries"
)

// Mirrored are events that Segment accepted with one request.
type Mirrored struct {
	Events             []event.Event
	SentAt, ReceivedAt time.Time
}

// Rejected is a row that can't be sent.
type Rejected struct {
	InteractionID string
	// MessageID is that of the event which the row would be, "" if it has none. If the mirror has it,
	// the row is no reject.
	MessageID string
	Reason    event.Reason
	Detail    string
	// Interaction is the row as JSON.
	Interaction []byte
	// Attempts counts this one too; 0 means 1.
	Attempts int32
	// Gone says that its row is no longer in the export: it stays, and counts for nothing.
	Gone bool
}

// Watermark is a place in the reading order. A nil ID stands before every id of
// that moment.
type Watermark struct {
	At time.Time
	ID *string
}

// Page is what is to be recorded of one page.
type Page struct {
	// Number is that of [Answers.Page].
	Number int64
	// Asked says that an answer of the mirror or of loader_rejects kept a row of it from being
	// sent, or rejected.
	Asked    bool
	Mirrored []Mirrored
	Rejected []Rejected
	// Cleared are ids of rows that are in the mirror: what they have in loader_rejects goes.
	Cleared []string
	// Counters are those of the run up to and with this page.
	Counters Counters
	// Watermark is nil if it stays where it is.
	Watermark *Watermark
	// Version of the program that sent the events, and the Library that it sent them with.
	Version string
	Library event.Library
}

// Any reports whether there is anything to record but counters, which the end of the
// run records too.
func (p *Page) Any() bool {
	return len(p.Mirrored)+len(p.Rejected)+len(p.Cleared) > 0 || p.Watermark != nil
}

// Group is what one transaction records: pages in the order in which they were read. The zero
// value has none. It keeps nothing of a page that was added but ids and encoded rows.
type Group struct {
	// Resent says that rows may stand in the mirror: they are sent again on purpose.
	Resent bool

	any bool
	// last is the number of the last page, asked that of the last one which an answer kept rows of
	// from being sent.
	last, asked int64
	tables      [3]copyRows
	rejected    []Rejected
	// cleared are the ids of rows that are in the mirror, whoever put them there.
	cleared   []string
	counters  Counters
	watermark *Watermark
}

// Add adds a page, which comes after those that were added before.
func (g *Group) Add(page *Page) {
	g.any, g.last = g.any || page.Any(), max(g.last, page.Number)
	if page.Asked {
		g.asked = page.Number
	}
	g.tables[0].table, g.tables[1].table, g.tables[2].table = screens, tracks, interactions
	var same []byte
	for _, text := range []string{Integration, page.Version, page.Library.Name, page.Library.Version} {
		same = appendText(same, text)
	}
	for i := range page.Mirrored {
		m := &page.Mirrored[i]
		for j := range m.Events {
			e := &m.Events[j]
			g.cleared = append(g.cleared, e.Row.ID)
			if e.Kind == event.View {
				g.tables[0].add(e, m, same)
				continue
			}
			g.tables[1].add(e, m, same)
			g.tables[2].add(e, m, same)
		}
	}
	g.rejected, g.cleared = append(g.rejected, page.Rejected...), append(g.cleared, page.Cleared...)
	g.counters = page.Counters
	if page.Watermark != nil {
		g.watermark = page.Watermark
	}
}

// Bytes is about what the group keeps in memory.
func (g *Group) Bytes() (n int) {
	for i := range g.tables {
		n += len(g.tables[i].data)
	}
	for i := range g.rejected {
		n += len(g.rejected[i].Interaction)
	}
	return n
}

// Any reports whether any of its pages has something to record.
func (g *Group) Any() bool { return g.any }

// WithoutRows is what a loader without the promise of one transaction would record first.
func (g *Group) WithoutRows() *Group {
	return &Group{last: g.last, asked: g.asked, counters: g.counters, watermark: g.watermark}
}

// Reset makes it empty, and keeps its memory.
func (g *Group) Reset() {
	for i := range g.tables {
		g.tables[i].reset()
	}
	clear(g.rejected)
	clear(g.cleared)
	*g = Group{Resent: g.Resent, tables: g.tables, rejected: g.rejected[:0], cleared: g.cleared[:0]}
}

// Record writes a group in one transaction: mirror rows, rejects, counters and
// watermark, or nothing. It may be repeated: rows that are there already stay as
// they are.
//
// It goes through only if the run stands where the group before left it, or at this very group, and
// its leases are this loader's. Else nothing is written, and the error is of kind [fault.Busy] if
// another loader has taken over, of kind [fault.Failed] if the warehouse went back.
func (r *Run) Record(ctx context.Context, g *Group) error {
	r.tried = max(r.tried, g.last)
	err := r.put(ctx, g, false)
	if err == nil {
		r.recorded = max(r.recorded, g.last)
	}
	return err
}

// put records a group, or tries to.
func (r *Run) put(ctx context.Context, g *Group, trial bool) error {
	write := copyAll
	if g.Resent {
		write = r.ledger.insertNew
	}
	err := r.record(ctx, g, write, trial)
	if refusesCopy(err) && !g.Resent {
		err = r.record(ctx, g, r.ledger.insertNew, trial)
	}
	if errors.Is(err, errNoTemporary) {
		err = r.record(ctx, g, r.ledger.copyMissing, trial)
	}
	switch {
	case errors.Is(err, errTried):
		return nil
	case errors.Is(err, errHeld):
		return r.lost(ctx)
	case err != nil:
		return r.ledger.explain(err, "recording in schema %q", r.ledger.id.Schema)
	}
	return nil
}

func (r *Run) record(ctx context.Context, g *Group, write func(context.Context, pgx.Tx, *copyRows) error, trial bool) error {
	q := r.ledger.q
	begin := r.ledger.locked
	if trial {
		begin = r.ledger.record + limitLocks + lockState
	}
	return r.ledger.watched(ctx, "recording", begin, true, func(tx pgx.Tx) error {
		for i := range g.tables {
			if len(g.tables[i].ids) == 0 {
				continue
			}
			if err := write(ctx, tx, &g.tables[i]); err != nil {
				return err
			}
		}
		if len(g.rejected) > 0 {
			if err := q.RejectsPut(ctx, tx, rejects(g.rejected, r.ID)); err != nil {
				return err
			}
		}
		now, err := q.RunAdvance(ctx, tx, r.advance(g))
		if err == nil && !now.Kept && !failpoint.Without("compare") {
			return errHeld
		}
		r.beside.Store(now.Beside)
		// Last, for it sees what is committed by now: whoever records holds the row of the state.
		if err == nil && now.HasRejects && len(g.cleared) > 0 {
			_, err = q.RejectsDelete(ctx, tx, each(g.cleared, rejectKey))
		}
		if err == nil && trial {
			return r.undo(ctx, tx)
		}
		failpoint.At("inside_commit")
		return err
	})
}

// copyMissing is insertNew for a role that may make no temporary table: the rows that are there
// are asked for, and left out.
func (l *Ledger) copyMissing(ctx context.Context, tx pgx.Tx, c *copyRows) error {
	missing, err := l.missing(ctx, tx, c)
	if err != nil {
		return err
	}
	return copyAll(ctx, tx, missing)
}

// missing returns the rows that their table does not have.
func (l *Ledger) missing(ctx context.Context, tx pgx.Tx, c *copyRows) (*copyRows, error) {
	there, err := l.q.MirrorPresent(ctx, tx, c.ids)
	if err != nil {
		return nil, err
	}
	present := map[string]struct{}{}
	for _, row := range there {
		if row.Relation == c.table.name {
			present[row.ID] = struct{}{}
		}
	}
	return c.without(present), nil
}

func (r *Run) advance(g *Group) queries.RunAdvanceParams {
	c := g.counters
	p := queries.RunAdvanceParams{
		ID: r.ID, Ttl: leaseTTL(), Leases: r.leases, Tokens: r.tokens, Holder: r.holder,
		PageBefore: r.recorded, Page: g.last, Asked: g.asked, Behind: r.behindParam(),
		RowsRead: c.RowsRead, Sent: c.Sent, AlreadyDelivered: c.AlreadyDelivered, Rejected: c.Rejected, RejectedBefore: c.RejectedBefore,
		Batches: c.Batches, Retries: c.Retries,
	}
	if g.watermark != nil {
		p.WatermarkAt, p.WatermarkID = &g.watermark.At, g.watermark.ID
	}
	return p
}

// rejects turns rejects into one array per column, which is how Postgres takes many rows in
// one statement. A row that was rejected twice stands there once, as it was last.
func rejects(rejected []Rejected, run int64) queries.RejectsPutParams {
	p := queries.RejectsPutParams{RunID: run}
	seen := map[string]bool{}
	for _, r := range slices.Backward(rejected) {
		key := rejectKey(r.InteractionID)
		if seen[key] {
			continue
		}
		seen[key] = true
		p.InteractionIds = append(p.InteractionIds, key)
		p.MessageIds = append(p.MessageIds, r.MessageID)
		p.Reasons = append(p.Reasons, string(r.Reason))
		p.Details = append(p.Details, r.Detail)
		p.Interactions = append(p.Interactions, r.Interaction)
		p.Attempts = append(p.Attempts, max(1, r.Attempts))
	}
	return p
}
