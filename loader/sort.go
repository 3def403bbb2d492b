package loader

import (
	"context"
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

	// last is the greatest messageId that the mirror held when the run began or
	// that this run has sent: ids begin with the time, so a greater one is new.
	last   string
	asked  bool
	mu     sync.Mutex
	flying map[string]struct{}
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
}

// sort sorts a page. Its events point into the page.
func (s *sorter) sort(ctx context.Context, page *source.Page) (sorted, error) {
	var out sorted
	if page.Skimmed {
		out.already = len(page.Rows)
		return out, nil
	}
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
	// Before the mirror is asked: what lands meanwhile was either flying or is found.
	s.dropFlying(out)
	ask := make([]string, 0, len(out.events))
	last := s.last
	for i := range out.events {
		if id := out.events[i].MessageID; id <= s.last {
			ask = append(ask, id)
		} else if id > last {
			last = id
		}
	}
	var found map[string]struct{}
	if !s.empty {
		var err error
		if found, err = s.ledger.Delivered(ctx, ask); err != nil {
			return err
		}
	}
	s.last = last
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flying == nil {
		s.flying = make(map[string]struct{}, 4*len(out.events))
	}
	out.keep(func(id string) bool {
		if _, delivered := found[id]; delivered {
			return false
		}
		// Twice in one page, if the export has no index that keeps ids unique.
		if _, flying := s.flying[id]; flying {
			return false
		}
		s.flying[id] = struct{}{}
		return true
	})
	return nil
}

// dropFlying takes out rows that were exported again while their first reading is in
// flight.
func (s *sorter) dropFlying(out *sorted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flying) == 0 {
		return
	}
	out.keep(func(id string) bool {
		_, flying := s.flying[id]
		return !flying
	})
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

// forget ends the flight of a page's events: they are in the mirror now, or the
// run is about to end.
func (s *sorter) forget(events []event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range events {
		delete(s.flying, events[i].MessageID)
	}
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
	for i := range mirrored {
		if id := mirrored[i].Event.Row.ID; s.known[id].Attempts > 0 {
			ids = append(ids, id)
		}
	}
	return ids
}
