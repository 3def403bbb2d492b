package segment

import (
	"maps"
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
	// PausedUntil is the end of the last pause that Segment asked for, zero if there was none.
	PausedUntil time.Time
}

// Stats returns the numbers so far.
func (g *Gateway) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	stats := g.stats
	stats.Requests = maps.Clone(stats.Requests)
	return stats
}

func (g *Gateway) count(add func(*Stats)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	add(&g.stats)
}
