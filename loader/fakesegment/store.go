package fakesegment

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Stats are the server's numbers since it began, or was reset.
type Stats struct {
	// Requests counts requests to /v1/batch, Statuses their answers.
	Requests int64         `json:"requests"`
	Statuses map[int]int64 `json:"statuses"`
	// Received counts events of requests that were answered with 200: accepted
	// once, as duplicates, dropped because the batch was too long, or invalid.
	Received   int64            `json:"received"`
	Accepted   int64            `json:"accepted"`
	Duplicates int64            `json:"duplicates"`
	Dropped    int64            `json:"dropped"`
	Invalid    int64            `json:"invalid"`
	Reasons    map[string]int64 `json:"invalid_reasons"`
	ByType     map[string]int64 `json:"by_type"`
	// FirstAt and LastAt are when the first and the last request with events came.
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
	// MaxPerSecond is the greatest number of events in any 1 s, wherever it begins.
	MaxPerSecond int64 `json:"max_per_second"`
	// Connections counts connections opened.
	Connections int64 `json:"connections"`
}

// arrival is a request's events, for the rate.
type arrival struct {
	at     time.Time
	events int64
}

// store remembers what was accepted.
type store struct {
	keep bool

	mu       sync.Mutex
	stats    Stats
	seen     map[string]struct{}
	order    []string
	events   []Event
	arrivals []arrival
}

func newStore(keep bool) *store {
	s := &store{keep: keep}
	s.reset()
	return s
}

func (s *store) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats = Stats{Statuses: map[int]int64{}, Reasons: map[string]int64{}, ByType: map[string]int64{}}
	s.seen, s.order, s.events, s.arrivals = map[string]struct{}{}, nil, nil, nil
}

func (s *store) request() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Requests++
}

func (s *store) status(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Statuses[code]++
}

// accept takes a batch. Segment answers 200 and drops what is over the limit of
// events, and what is invalid.
func (s *store) accept(batch []Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrive(int64(len(batch)))
	if len(batch) > MaxEvents {
		s.stats.Dropped += int64(len(batch) - MaxEvents)
		batch = batch[:MaxEvents]
	}
	for i := range batch {
		e := &batch[i]
		if reason := e.invalid(); reason != "" {
			s.stats.Invalid++
			s.stats.Reasons[reason]++
			continue
		}
		id := e.ID()
		if _, duplicate := s.seen[id]; duplicate {
			s.stats.Duplicates++
			continue
		}
		s.seen[id] = struct{}{}
		s.order = append(s.order, id)
		s.stats.Accepted++
		s.stats.ByType[e.Type]++
		if s.keep {
			s.events = append(s.events, *e)
		}
	}
}

// counted takes a batch of which only the number is known.
func (s *store) counted(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Requests++
	s.stats.Accepted += n
	s.arrive(n)
}

func (s *store) arrive(n int64) {
	now := time.Now()
	s.stats.Received += n
	if s.stats.FirstAt.IsZero() {
		s.stats.FirstAt = now
	}
	s.stats.LastAt = now
	s.arrivals = append(s.arrivals, arrival{now, n})
}

func (s *store) numbers() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Statuses, stats.Reasons, stats.ByType = maps.Clone(stats.Statuses), maps.Clone(stats.Reasons), maps.Clone(stats.ByType)
	var inWindow int64
	first := 0
	for _, last := range s.arrivals {
		inWindow += last.events
		for last.at.Sub(s.arrivals[first].at) >= time.Second {
			inWindow -= s.arrivals[first].events
			first++
		}
		stats.MaxPerSecond = max(stats.MaxPerSecond, inWindow)
	}
	return stats
}

func (s *store) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

// list returns accepted events of a type ("" = any), after the first ones, at
// most limit (0 = all).
func (s *store) list(kind string, after, limit int) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Event
	for i := min(after, len(s.events)); i < len(s.events) && (limit == 0 || len(found) < limit); i++ {
		if kind == "" || s.events[i].Type == kind {
			found = append(found, s.events[i])
		}
	}
	return found
}
