package segment

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Stats are a gateway's numbers since it was made.
type Stats struct {
	// Requests counts attempts by HTTP status; 0 = there was no answer.
	Requests map[int]int64
	// Retries counts attempts that were repeated.
	Retries int64
	// Accepted and Refused count events.
	Accepted, Refused int64
	// Limited is how long senders waited for the rate limit, added up.
	Limited time.Duration
	// Connections counts connections opened.
	Connections int64
	// PausedUntil is the end of the pause that Segment asked for, in the past if
	// there is none.
	PausedUntil time.Time
}

type stats struct {
	mu       sync.Mutex
	byStatus map[int]int64

	retries, accepted, refused, limited, connections atomic.Int64
}

func (s *stats) request(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byStatus[status]++
}

// Stats returns the numbers so far.
func (g *Gateway) Stats() Stats {
	s := &g.stats
	s.mu.Lock()
	requests := maps.Clone(s.byStatus)
	s.mu.Unlock()
	return Stats{
		Requests: requests, Retries: s.retries.Load(), Accepted: s.accepted.Load(), Refused: s.refused.Load(),
		Limited: time.Duration(s.limited.Load()), Connections: s.connections.Load(),
		PausedUntil: time.Unix(0, g.pausedUntil.Load()),
	}
}
