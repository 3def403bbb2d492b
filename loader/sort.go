package loader

import (
	"context"
	"slices"
	"sync"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// sorter decides of each row of a page: to send, to reject, or already dealt
// with. It asks the ledger once per page.
type sorter struct {
	ledger *ledger.Ledger
	rules  *event.Rules
	// hasRejects is false if no row was ever rejected, then nobody need ask.
	hasRejects bool
	// retrying sends what was rejected before, instead of leaving it alone.
	retrying bool
	// resend sends what is in the mirror too.
	resend bool

	// empty is true while there is no mirror that could be asked.
	empty bool

	// unique is true if the export has an index that keeps ids unique: then no id stands
	// twice in a page.
	unique bool

	// last is the greatest messageId that the mirror held when the run began or
	// that this run has sent: ids begin with the time, so a greater one is new.
	last  string
	asked bool

	mu      sync.Mutex
	flights []*flight
}

// flight are events of one page that are on their way to the mirror.
type flight struct {
	// first and last are the least and the greatest of their messageIds.
	first, last string
	events      []event.Event
}

// sorted is what became of a page's rows.
type sorted struct {
	events   []event.Event
	rejected []ledger.Rejected
	// already counts rows that are in the mirror, or that were rejected before
	// and are as they were.
	already int
	// known are the rows that were rejected before and can be sent now.
	known map[string]ledger.KnownReject
	// flight ends when the page is recorded; nil if it has no events.
	flight *flight
}

// sort sorts a page. Its events point into the page.
func (s *sorter) sort(ctx context.Context, page *source.Page) (sorted, error) {
	out := sorted{already: page.Passed}
	if len(page.Rows) == 0 {
		return out, nil
	}
	known, err := s.knownRejects(ctx, page)
	if err != nil {
		return out, err
	}
	out.events = make([]event.Event, 0, len(page.Rows))
	for i := range page.Rows {
		row := &page.Rows[i]
		before, wasRejected := known[row.ID]
		made, reject := s.rules.Convert(row)
		switch {
		case reject != nil && wasRejected && before.Reason == string(reject.Reason) && !s.retrying,
			reject == nil && wasRejected && before.Reason == string(event.RefusedBySegment) && !s.retrying:
			out.already++
		case reject != nil:
			object, err := page.Object(i)
			if err != nil {
				return out, err
			}
			out.rejected = append(out.rejected, ledger.Rejected{
				InteractionID: row.ID, Reason: reject.Reason, Detail: reject.Detail, Interaction: object, Attempts: before.Attempts + 1,
			})
		default:
			out.events = append(out.events, made)
		}
	}
	out.known = known
	return out, s.dropDelivered(ctx, &out)
}

func (s *sorter) knownRejects(ctx context.Context, page *source.Page) (map[string]ledger.KnownReject, error) {
	if !s.hasRejects {
		return nil, nil
	}
	ids := make([]string, len(page.Rows))
	for i := range page.Rows {
		ids[i] = page.Rows[i].ID
	}
	return s.ledger.KnownRejects(ctx, ids)
}

// dropDelivered takes out what is in the mirror or on its way there. Only ids up
// to the greatest known one can be; on a first load of an ordered export that is none.
func (s *sorter) dropDelivered(ctx context.Context, out *sorted) error {
	if s.resend || len(out.events) == 0 {
		return nil
	}
	if !s.asked && !s.empty {
		last, err := s.ledger.LastID(ctx)
		if err != nil {
			return err
		}
		s.last, s.asked = last, true
	}
	own := newFlight(out.events)
	// Before the mirror is asked: what lands meanwhile was either flying or is found.
	flying := s.flyingWithin(own.first, own.last)
	found, err := s.deliveredOf(ctx, own)
	if err != nil {
		return err
	}
	s.last = max(s.last, own.last)
	if !s.unique && flying == nil {
		flying = map[string]struct{}{}
	}
	if len(found) > 0 || flying != nil {
		out.keep(func(id string) bool {
			if _, delivered := found[id]; delivered {
				return false
			}
			_, flies := flying[id]
			if !s.unique {
				flying[id] = struct{}{}
			}
			return !flies
		})
	}
	if len(out.events) == 0 {
		return nil
	}
	own.events, out.flight = out.events, own
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flights = append(s.flights, own)
	return nil
}

// deliveredOf asks the mirror for those of a page's events that may be in it.
func (s *sorter) deliveredOf(ctx context.Context, page *flight) (map[string]struct{}, error) {
	if s.empty || page.first > s.last {
		return nil, nil
	}
	ask := make([]string, 0, len(page.events))
	for i := range page.events {
		if id := page.events[i].MessageID; id <= s.last {
			ask = append(ask, id)
		}
	}
	return s.ledger.Delivered(ctx, ask)
}

func newFlight(events []event.Event) *flight {
	f := &flight{first: events[0].MessageID, last: events[0].MessageID, events: events}
	for i := range events {
		f.first, f.last = min(f.first, events[i].MessageID), max(f.last, events[i].MessageID)
	}
	return f
}

// flyingWithin returns the ids from first to last that are in flight, nil if there are
// none: a row that was exported again is read again while its first reading flies. Few
// pages reach into one another, for ids begin with the time.
func (s *sorter) flyingWithin(first, last string) map[string]struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids map[string]struct{}
	for _, f := range s.flights {
		if f.last < first || f.first > last {
			continue
		}
		for i := range f.events {
			if id := f.events[i].MessageID; id >= first && id <= last {
				if ids == nil {
					ids = map[string]struct{}{}
				}
				ids[id] = struct{}{}
			}
		}
	}
	return ids
}

// land ends a flight: its events are in the mirror now, or the run is about to end.
func (s *sorter) land(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flights = slices.DeleteFunc(s.flights, func(other *flight) bool { return other == f })
}

// keep takes out the events whose ids are not wanted: they are dealt with already.
func (s *sorted) keep(wanted func(id string) bool) {
	kept := s.events[:0]
	for i := range s.events {
		if wanted(s.events[i].MessageID) {
			kept = append(kept, s.events[i])
		}
	}
	s.already += len(s.events) - len(kept)
	s.events = kept
}

// truncate cuts page and events after the limit-th row that is new, and reports
// whether it did, or the limit is just reached.
func (s *sorted) truncate(page *source.Page, limit int) bool {
	if len(s.events)+len(s.rejected) < limit {
		return false
	}
	events, rejected, cut := 0, 0, 0
	for ; cut < len(page.Rows) && events+rejected < limit; cut++ {
		row := &page.Rows[cut]
		switch {
		case events < len(s.events) && s.events[events].Row == row:
			events++
		case rejected < len(s.rejected) && s.rejected[rejected].InteractionID == row.ID:
			rejected++
		}
	}
	s.events, s.rejected = s.events[:events], s.rejected[:rejected]
	s.already = cut - events - rejected
	page.Truncate(cut)
	return true
}

// refused makes a reject of an event that Segment did not accept.
func (s *sorted) refused(page *source.Page, e *event.Event, detail string) (ledger.Rejected, error) {
	object, err := page.ObjectOf(e.Row)
	if err != nil {
		return ledger.Rejected{}, err
	}
	return ledger.Rejected{
		InteractionID: e.Row.ID, Reason: event.RefusedBySegment, Detail: detail, Interaction: object,
		Attempts: s.known[e.Row.ID].Attempts + 1,
	}, nil
}

// cleared lists the rejects that went through after all.
func (s *sorted) cleared(mirrored []ledger.Mirrored) []string {
	if len(s.known) == 0 {
		return nil
	}
	var ids []string
	for _, m := range mirrored {
		for i := range m.Events {
			if id := m.Events[i].Row.ID; s.known[id].Attempts > 0 {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
