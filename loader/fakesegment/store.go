package fakesegment

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Stats are the server's numbers since it began, or was reset.
type Stats struct {
	// Requests counts requests to /v1/batch, Statuses their answers; 0 stands
	// for a connection that was broken on demand.
	Requests int64         `json:"requests"`
	Statuses map[int]int64 `json:"statuses"`
	// Received counts events of requests that were answered with 200, and is
	// the sum of the next four.
	Received   int64 `json:"received"`
	Accepted   int64 `json:"accepted"`
	Duplicates int64 `json:"duplicates"`
	// Dropped counts the events of batches that were too long, had a key that is not known, or
	// were dropped on demand.
	Dropped int64            `json:"dropped"`
	Invalid int64            `json:"invalid"`
	Reasons map[string]int64 `json:"invalid_reasons"`
	// Examples are the last invalid events.
	Examples []Example        `json:"invalid_examples,omitempty"`
	ByType   map[string]int64 `json:"by_type"`
	// Kept is how many events /events can show.
	Kept int64 `json:"kept"`
	// FirstAt and LastAt are when the first and the last request with events came.
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
	// MaxPerSecond is the greatest number of events in any 1 s, wherever it begins.
	MaxPerSecond int64 `json:"max_per_second"`
	// PerSecond are the events of each second since FirstAt.
	PerSecond []int64 `json:"per_second"`
	// KeysAsked counts questions whether a write key is known.
	KeysAsked int64 `json:"keys_asked"`
	// Connections counts connections opened.
	Connections int64 `json:"connections"`
}

// Example is an event that Segment would have dropped.
type Example struct {
	Reason string `json:"reason"`
	Event  string `json:"event"`
}

const (
	maxExamples     = 10
	maxExampleBytes = 500
	blockBytes      = 1 << 20
)

// arrival is a request's events, for the rate.
type arrival struct {
	at     time.Time
	events int64
}

// store remembers what was accepted, in little memory: 16 bytes and a place in a
// set for an id that is a UUID, and the JSON of the events that are kept.
type store struct {
	keep int

	mu       sync.Mutex
	stats    Stats
	seen     map[uuid.UUID]struct{}
	odd      map[string]struct{} // ids that are no canonical UUIDs
	order    []uuid.UUID         // of the ids; zero for odd ones
	oddOrder map[int]string      // index of order
	events   [][]byte            // raw, cut from block
	block    []byte
	arrivals []arrival
}

func newStore(keep int) *store {
	s := &store{keep: keep}
	s.reset()
	return s
}

func (s *store) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats = Stats{Statuses: map[int]int64{}, Reasons: map[string]int64{}, ByType: map[string]int64{}}
	s.seen, s.odd, s.order, s.oddOrder = map[uuid.UUID]struct{}{}, map[string]struct{}{}, nil, map[int]string{}
	s.events, s.block, s.arrivals = nil, nil, nil
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

// accept takes the valid and new events of a batch.
func (s *store) accept(batch []Event) {
	reasons := make([]string, len(batch))
	for i := range batch {
		reasons[i] = batch[i].invalid()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrive(int64(len(batch)))
	for i := range batch {
		e := &batch[i]
		switch {
		case reasons[i] != "":
			s.drop(e, reasons[i])
		case !s.add(e.ID()):
			s.stats.Duplicates++
		default:
			s.stats.Accepted++
			s.stats.ByType[e.Type]++
			if len(s.events) < s.keep {
				s.events = append(s.events, s.copy(e.raw))
			}
		}
	}
}

// add remembers an id and tells whether it is new.
func (s *store) add(id string) bool {
	key, err := uuid.Parse(id)
	if err != nil || key.String() != id {
		if _, seen := s.odd[id]; seen {
			return false
		}
		s.odd[id] = struct{}{}
		s.oddOrder[len(s.order)] = id
		s.order = append(s.order, uuid.UUID{})
		return true
	}
	if _, seen := s.seen[key]; seen {
		return false
	}
	s.seen[key] = struct{}{}
	s.order = append(s.order, key)
	return true
}

func (s *store) drop(e *Event, reason string) {
	s.stats.Invalid++
	s.stats.Reasons[reason]++
	if len(s.stats.Examples) == maxExamples {
		s.stats.Examples = slices.Delete(s.stats.Examples, 0, 1)
	}
	s.stats.Examples = append(s.stats.Examples, Example{reason, string(e.raw[:min(len(e.raw), maxExampleBytes)])})
}

// copy returns the bytes in memory of the store's own, which is taken in large
// blocks.
func (s *store) copy(raw []byte) []byte {
	if len(raw) > cap(s.block)-len(s.block) {
		s.block = make([]byte, 0, max(blockBytes, len(raw)))
	}
	start := len(s.block)
	s.block = append(s.block, raw...)
	return s.block[start:len(s.block):len(s.block)]
}

// dropped takes n events and forgets them.
func (s *store) dropped(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Dropped += int64(n)
	s.arrive(int64(n))
}

// asked counts a question about a write key.
func (s *store) asked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.KeysAsked++
}

// counted takes a batch of which only the number of events is known.
func (s *store) counted(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
	stats.Examples = slices.Clone(stats.Examples)
	stats.Kept = int64(len(s.events))
	stats.MaxPerSecond = densest(s.arrivals)
	stats.PerSecond = perSecond(s.arrivals)
	return stats
}

// densest returns the greatest number of events within 1 s.
func densest(arrivals []arrival) int64 {
	var greatest, within int64
	first := 0
	for _, last := range arrivals {
		within += last.events
		for last.at.Sub(arrivals[first].at) >= time.Second {
			within -= arrivals[first].events
			first++
		}
		greatest = max(greatest, within)
	}
	return greatest
}

// perSecond returns the events of each second since the first one.
func perSecond(arrivals []arrival) []int64 {
	seconds := []int64{}
	for _, a := range arrivals {
		second := int(a.at.Sub(arrivals[0].at) / time.Second)
		for len(seconds) <= second {
			seconds = append(seconds, 0)
		}
		seconds[second] += a.events
	}
	return seconds
}

// ids returns the accepted ids in the order in which they came.
func (s *store) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, len(s.order))
	for i, id := range s.order {
		if odd, ok := s.oddOrder[i]; ok {
			ids[i] = odd
		} else {
			ids[i] = id.String()
		}
	}
	return ids
}

// list returns kept events of a type ("" = any), after the first ones, at most
// limit (0 = all).
func (s *store) list(kind string, after, limit int) []Event {
	s.mu.Lock()
	kept := s.events[min(after, len(s.events)):]
	s.mu.Unlock()
	found := []Event{}
	for _, raw := range kept {
		if limit > 0 && len(found) == limit {
			break
		}
		if e := cut(json.RawMessage(raw)); kind == "" || e.Type == kind {
			found = append(found, e)
		}
	}
	return found
}
