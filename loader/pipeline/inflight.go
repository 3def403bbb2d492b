package pipeline

import (
	"slices"
	"sync"
)

// inFlight knows the events between reading and recording: a row that was exported again is
// read again while its first reading is on its way to the mirror.
type inFlight struct {
	mu    sync.Mutex
	spans []*span
}

// span are the events of one page that are in flight.
type span struct {
	// first and last are the least and the greatest of their messageIds.
	first, last string
	ids         []string
}

func newSpan(ids []string) *span {
	s := &span{ids: ids}
	for i, id := range ids {
		if i == 0 {
			s.first = id
		}
		s.first, s.last = min(s.first, id), max(s.last, id)
	}
	return s
}

// within returns the ids from first to last that are in flight, nil if there are none. Few
// pages reach into one another, for ids begin with the time.
func (f *inFlight) within(first, last string) map[string]struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ids map[string]struct{}
	for _, s := range f.spans {
		if s.last < first || s.first > last {
			continue
		}
		for _, id := range s.ids {
			if id >= first && id <= last {
				if ids == nil {
					ids = map[string]struct{}{}
				}
				ids[id] = struct{}{}
			}
		}
	}
	return ids
}

func (f *inFlight) add(s *span) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spans = append(f.spans, s)
}

func (f *inFlight) remove(spans ...*span) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spans = slices.DeleteFunc(f.spans, func(s *span) bool { return slices.Contains(spans, s) })
}
