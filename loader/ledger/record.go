package ledger

import (
	"context"
	"errors"
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
	Reason        event.Reason
	Detail        string
	// Interaction is the row as JSON.
	Interaction []byte
	// Attempts counts this one too; 0 means 1.
	Attempts int32
}

// Watermark is a place in the reading order. A nil ID stands before every id of
// that moment.
type Watermark struct {
	At time.Time
	ID *string
}

// Page is what one transaction records.
type Page struct {
	Mirrored []Mirrored
	Rejected []Rejected
	// Cleared are ids of rejects that went through after all.
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
	return len(p.Mirrored) > 0 || len(p.Rejected) > 0 || p.Watermark != nil
}

// Record writes a page in one transaction: mirror rows, rejects, counters and
// watermark, or nothing. It may be repeated: rows that are there already stay as
// they are. If the lease is another's by now, nothing is written and the error is
// of kind [fault.Busy].
func (r *Run) Record(ctx context.Context, page Page) error {
	return r.RecordAfter(ctx, page, func(context.Context) error { return nil })
}

// RecordAfter is Record for a page that may be committed only after others: it writes the
// mirror, and then calls turn, which waits for them. With an error of turn's nothing is
// written. Meanwhile its rows of the mirror are locked, so none of them may be in
// what it waits for; of rejects, counters and watermark nothing is.
func (r *Run) RecordAfter(ctx context.Context, page Page, turn func(ctx context.Context) error) error {
	mirror := r.insertMirror
	if !r.overlaps.Load() {
		mirror = r.copyMirror
	}
	err := r.record(ctx, page, mirror, turn)
	if refusesCopy(err) {
		// Where one page overlaps with the mirror, the next ones will too.
		r.overlaps.Store(true)
		err = r.record(ctx, page, r.insertMirror, turn)
	}
	switch {
	case errors.Is(err, errHeld):
		return r.lost()
	case err != nil:
		return r.ledger.explain(err, "recording a page in schema %q", r.ledger.id.Schema)
	}
	return nil
}

func (r *Run) record(ctx context.Context, page Page, mirror func(context.Context, pgx.Tx, *Page) error, turn func(context.Context) error) error {
	q := r.ledger.q
	return pgx.BeginTxFunc(ctx, r.ledger.pool, pgx.TxOptions{BeginQuery: r.ledger.record}, func(tx pgx.Tx) error {
		if len(page.Mirrored) > 0 {
			if err := mirror(ctx, tx, &page); err != nil {
				return err
			}
		}
		if err := turn(ctx); err != nil {
			return err
		}
		if len(page.Rejected) > 0 {
			if err := q.RejectsPut(ctx, tx, rejects(page.Rejected, r.ID)); err != nil {
				return err
			}
		}
		if len(page.Cleared) > 0 {
			if _, err := q.RejectsDelete(ctx, tx, page.Cleared); err != nil {
				return err
			}
		}
		held, err := q.RunAdvance(ctx, tx, r.advance(page))
		if err == nil && !held && !failpoint.Without("fencing") {
			return errHeld
		}
		failpoint.At("inside_commit")
		return err
	})
}

func (r *Run) copyMirror(ctx context.Context, tx pgx.Tx, page *Page) error {
	now, err := r.ledger.q.MirrorClock(ctx, tx)
	if err != nil {
		return err
	}
	return copyMirror(ctx, tx, now, page)
}

func (r *Run) insertMirror(ctx context.Context, tx pgx.Tx, page *Page) error {
	q := r.ledger.q
	screens, interactions := columns(*page)
	if len(screens.Ids) > 0 {
		if _, err := q.MirrorScreens(ctx, tx, screens); err != nil {
			return err
		}
	}
	if len(interactions.Ids) > 0 {
		if _, err := q.MirrorInteractions(ctx, tx, interactions); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) advance(page Page) queries.RunAdvanceParams {
	c := page.Counters
	p := queries.RunAdvanceParams{
		ID: r.ID, Ttl: leaseTTL(), Lease: r.lease, Token: r.token,
		RowsRead: c.RowsRead, Sent: c.Sent, AlreadyDelivered: c.AlreadyDelivered, Rejected: c.Rejected,
		Batches: c.Batches, Retries: c.Retries,
	}
	if page.Watermark != nil {
		p.WatermarkAt, p.WatermarkID = &page.Watermark.At, page.Watermark.ID
	}
	return p
}

// columns turns the page's events into one array per column, which is how
// Postgres takes many rows in one statement.
func columns(page Page) (queries.MirrorScreensParams, queries.MirrorInteractionsParams) {
	all, views := 0, 0
	for _, m := range page.Mirrored {
		all += len(m.Events)
		for i := range m.Events {
			if m.Events[i].Kind == event.View {
				views++
			}
		}
	}
	s, t := newColumns(views), newColumns(all-views)
	var names []string
	if all > views {
		names = make([]string, 0, all-views)
	}
	for _, m := range page.Mirrored {
		for i := range m.Events {
			e := &m.Events[i]
			if e.Kind == event.View {
				s.add(e, m)
				continue
			}
			t.add(e, m)
			names = append(names, e.Row.EventName)
		}
	}
	return queries.MirrorScreensParams{
			IntegrationVersion: page.Version, LibraryName: page.Library.Name, LibraryVersion: page.Library.Version,
			Ids: s.ids, ReceivedAts: s.received, SentAts: s.sent, AnonymousIds: s.anonymous, UserIds: s.users,
			OccurredAts: s.occurred, TutorialIds: s.tutorials, SegmentIds: s.segments, PortalIds: s.portals,
			VersionIds: s.versions, InteractionIds: s.interactions,
		}, queries.MirrorInteractionsParams{
			IntegrationVersion: page.Version, LibraryName: page.Library.Name, LibraryVersion: page.Library.Version,
			Ids: t.ids, ReceivedAts: t.received, SentAts: t.sent, AnonymousIds: t.anonymous, UserIds: t.users,
			OccurredAts: t.occurred, TutorialIds: t.tutorials, SegmentIds: t.segments, PortalIds: t.portals,
			VersionIds: t.versions, EventNames: names, InteractionIds: t.interactions,
		}
}

type arrays struct {
	ids, anonymous, users, segments, portals, versions, interactions []string
	received, sent, occurred                                         []time.Time
	tutorials                                                        []int64
}

func newColumns(n int) *arrays {
	if n == 0 {
		return &arrays{}
	}
	text := func() []string { return make([]string, 0, n) }
	times := func() []time.Time { return make([]time.Time, 0, n) }
	return &arrays{
		ids: text(), anonymous: text(), users: text(), segments: text(), portals: text(), versions: text(), interactions: text(),
		received: times(), sent: times(), occurred: times(), tutorials: make([]int64, 0, n),
	}
}

// add appends an event. What the event leaves out is "" here and NULL in the mirror.
func (a *arrays) add(e *event.Event, m Mirrored) {
	row := e.Row
	a.ids = append(a.ids, e.MessageID)
	a.received = append(a.received, m.ReceivedAt)
	a.sent = append(a.sent, m.SentAt)
	a.anonymous = append(a.anonymous, event.Present(row.AnonymousID))
	a.users = append(a.users, event.Present(row.UserID))
	a.occurred = append(a.occurred, e.At)
	a.tutorials = append(a.tutorials, e.TutorialID)
	a.segments = append(a.segments, event.Present(row.SegmentID))
	portal := ""
	if e.HasPortal {
		portal = row.PortalID
	}
	a.portals = append(a.portals, portal)
	a.versions = append(a.versions, event.Present(row.VersionID))
	a.interactions = append(a.interactions, row.ID)
}

func rejects(rejected []Rejected, run int64) queries.RejectsPutParams {
	p := queries.RejectsPutParams{RunID: run}
	for _, r := range rejected {
		p.InteractionIds = append(p.InteractionIds, r.InteractionID)
		p.Reasons = append(p.Reasons, string(r.Reason))
		p.Details = append(p.Details, r.Detail)
		p.Interactions = append(p.Interactions, r.Interaction)
		p.Attempts = append(p.Attempts, max(1, r.Attempts))
	}
	return p
}
