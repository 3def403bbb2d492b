package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
)

// faultsInRow is after how many rows of a kind in a row that can't be recorded it is not about
// the rows.
const faultsInRow = 20

// candidate is a row of a page that is to be recorded: an event, or a reject.
type candidate struct {
	event  *event.Event
	reject *ledger.Rejected
}

// kind is that of the event, 0 of a reject.
func (c candidate) kind() event.Kind {
	if c.event == nil {
		return 0
	}
	return c.event.Kind
}

// sieve tells the rows of a page that can be recorded, together, from those that can't.
type sieve struct {
	pipeline *Pipeline
	page     *Classified

	events   []event.Event
	rejected []ledger.Rejected
	// refused are those that can't, and why.
	refused []candidate
	causes  []error
	// inRow counts those of lastKind that were refused one after the other.
	inRow    int
	lastKind event.Kind
}

// sift finds the rows of a page that the warehouse refuses, by halving, and makes rejects of
// them, which it returns. If it is not about the rows it rejects none: that is a [fault.Precondition].
func (p *Pipeline) sift(ctx context.Context, c *Classified) (found []ledger.Rejected, err error) {
	s := &sieve{pipeline: p, page: c}
	// Kind by kind, because each has tables of its own: of one that nothing goes into, all are refused.
	var all []candidate
	for i := range c.Rejected {
		all = append(all, candidate{reject: &c.Rejected[i]})
	}
	for _, kind := range []event.Kind{event.View, event.Interacted} {
		for i := range c.Events {
			if c.Events[i].Kind == kind {
				all = append(all, candidate{event: &c.Events[i]})
			}
		}
	}
	if err := s.pass(ctx, all); err != nil {
		return nil, err
	}
	if err := s.judge(ctx); err != nil {
		return nil, err
	}
	return s.reject(ctx)
}

// pass keeps those that can be recorded together with what was kept before.
func (s *sieve) pass(ctx context.Context, some []candidate) error {
	if len(some) == 0 {
		return nil
	}
	events, rejected := s.events, s.rejected
	for _, c := range some {
		if c.event != nil {
			events = append(events, *c.event)
		} else {
			rejected = append(rejected, *c.reject)
		}
	}
	err := s.try(ctx, events, rejected)
	if err == nil {
		s.events, s.rejected, s.inRow = events, rejected, 0
		return nil
	}
	if !postgres.OfData(err) {
		return err
	}
	if half := len(some) / 2; half > 0 {
		if err := s.pass(ctx, some[:half]); err != nil {
			return err
		}
		return s.pass(ctx, some[half:])
	}
	if s.lastKind != some[0].kind() {
		s.inRow, s.lastKind = 0, some[0].kind()
	}
	s.refused, s.causes = append(s.refused, some[0]), append(s.causes, err)
	if !s.known(some[0]) {
		s.inRow++
	}
	if s.inRow >= faultsInRow {
		return s.notTheRows(err)
	}
	return nil
}

// known reports whether it was found before, beside rows that could be recorded, that it can't
// be: then it says nothing new.
func (s *sieve) known(c candidate) bool {
	return c.event != nil && s.page.known[c.event.Row.ID].Reason == string(event.CanNotBeRecorded)
}

func (s *sieve) try(ctx context.Context, events []event.Event, rejected []ledger.Rejected) error {
	return s.pipeline.tried(ctx, s.page, events, rejected)
}

// judge refuses to blame the rows where nothing of a page can be recorded, or nothing of a kind, a
// plain row neither.
func (s *sieve) judge(ctx context.Context) error {
	if len(s.events)+len(s.rejected) == 0 && !slices.ContainsFunc(s.refused, s.known) {
		return s.notTheRows(s.causes[0])
	}
	for i, c := range s.refused {
		kept := slices.ContainsFunc(s.events, func(e event.Event) bool { return e.Kind == c.kind() })
		first := !slices.ContainsFunc(s.refused[:i], func(b candidate) bool { return b.kind() == c.kind() })
		if c.event == nil || kept || !first {
			continue
		}
		err := s.try(ctx, append(slices.Clone(s.events), plain(c.kind())), s.rejected)
		if postgres.OfData(err) {
			return s.notTheRows(err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// plain is an event that nothing could be said against.
func plain(kind event.Kind) event.Event {
	at := time.Unix(0, 0).UTC()
	return event.Event{
		Kind: kind, MessageID: "00000000-0000-8000-8000-000000000000", At: at, TutorialID: 1,
		Row: &event.Interaction{ID: "0", Kind: kind.String(), UserID: "nobody", TutorialID: "1", EventName: "nothing", OccurredAt: at, ExportedAt: at},
	}
}

func (s *sieve) notTheRows(err error) error {
	e := &fault.Error{Kind: fault.Precondition, Text: "recording before sending, of which no row of the page is at fault", Err: err}
	return e.WithHint("Nothing of the page was sent and nothing rejected. A constraint, a trigger or an index of the mirror refuses its rows: " +
		"`candu-loader check` names what differs from the schema that candu-loader makes.")
}

// reject makes rejects of what was refused, and tries them too. What can't be kept whole is kept
// without its contents. It returns those of rows that were events.
func (s *sieve) reject(ctx context.Context) (found []ledger.Rejected, err error) {
	for i, c := range s.refused {
		whole, bare, err := s.rejects(c, s.causes[i])
		if err != nil {
			return nil, err
		}
		for _, r := range []ledger.Rejected{whole, bare} {
			if err = s.try(ctx, s.events, append(s.rejected, r)); err == nil {
				s.rejected = append(s.rejected, r)
				break
			}
			if !postgres.OfData(err) {
				return nil, err
			}
		}
		if err != nil {
			return nil, s.notTheRows(err)
		}
		if c.event != nil {
			found = append(found, whole)
			s.pipeline.Log.Warn("a row can't be recorded, and was not sent", "id", c.event.Row.ID, "reason", event.CanNotBeRecorded, "detail", whole.Detail)
		}
	}
	refused := map[*event.Event]bool{}
	for _, c := range s.refused {
		refused[c.event] = true
	}
	kept := make([]event.Event, 0, len(s.events))
	for i := range s.page.Events {
		if e := &s.page.Events[i]; !refused[e] {
			kept = append(kept, *e)
		}
	}
	s.page.Events, s.page.Rejected = kept, s.rejected
	// Whoever is rejected now may be exported again, mended.
	s.pipeline.Intake.config.HasRejects = true
	return found, nil
}

// rejects makes the reject of what was refused for a cause, whole and without its contents.
func (s *sieve) rejects(c candidate, cause error) (whole, bare ledger.Rejected, err error) {
	said := said(cause)
	if c.event == nil {
		whole = *c.reject
		bare = whole
		bare.Detail = said + ", so nothing of the row is kept"
	} else {
		before := s.page.known[c.event.Row.ID]
		whole = ledger.Rejected{
			InteractionID: c.event.Row.ID, Reason: event.CanNotBeRecorded, Detail: said, Attempts: before.Attempts + 1,
		}
		if s.pipeline.mayBeSent() || strings.HasSuffix(before.Detail, mayBeAccepted) {
			whole.Detail += mayBeAccepted
		}
		if whole.Interaction, err = s.page.Page.ObjectOf(c.event.Row); err != nil {
			return whole, bare, err
		}
		bare = whole
	}
	bare.Interaction, err = json.Marshal(map[string]string{"id": bare.InteractionID})
	return whole, bare, err
}

// mayBeAccepted is said of rows that an earlier run may have sent.
const mayBeAccepted = "; a run before may have sent it, and Segment may have accepted it"

// mayBeSent reports whether rows that were not recorded may have been sent by a run before.
func (p *Pipeline) mayBeSent() bool { return p.Unrecorded != nil || p.Run.Dead > 0 }

// said is what the warehouse said of a row, for people.
func said(cause error) string {
	text := cause.Error()
	if pg, ok := errors.AsType[*pgconn.PgError](cause); ok {
		text = pg.Message + " (" + pg.Code + ")"
	}
	return "the warehouse refuses it: " + human.Cut(human.Line(text), 200)
}
