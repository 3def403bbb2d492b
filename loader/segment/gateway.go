// Package segment delivers events to Segment. It is the only one that speaks
// HTTP to it, through analytics-go.
package segment

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// maxRetryAfter caps what a Retry-After may ask for, as Segment's own
	// libraries do.
	maxRetryAfter = 300 * time.Second
	// renewEvery is how often connections are replaced, so that the host's name
	// is looked up again: Segment's addresses change without notice
	// (https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/).
	renewEvery = time.Hour
	// defaultTimeout is generous: it ends what hangs, not what is slow.
	defaultTimeout = 30 * time.Second
)

// Config says how to deliver.
type Config struct {
	// Endpoint is scheme and host, without /v1.
	Endpoint string
	// Concurrency is how many requests may be in flight.
	Concurrency int
	// BatchSize is the greatest number of events of one request.
	BatchSize int
	// MaxEventsPerSecond is kept by all senders together; 0 = no limit.
	MaxEventsPerSecond int
	// RetryFor is how long one batch is tried, from its first attempt on.
	RetryFor time.Duration
	// Timeout bounds one attempt, from connecting to the last byte of the answer;
	// zero means 30 s.
	Timeout time.Duration
	// Version is sent as context.integration.version.
	Version string
	// Log is told of requests that are tried again; nil = nobody.
	Log *slog.Logger

	// firstWait and maxWait bound the backoff; zero means 0.5 s and 60 s.
	firstWait, maxWait time.Duration
	// dial connects; nil means TCP.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Gateway is what all senders of a process share: connections, the rate limit,
// and the pause that Segment may ask for. It is safe for concurrent use.
type Gateway struct {
	config Config
	pace   *pace // nil = no limit
	// batchSize is the greatest number of events of one request; with a rate limit it is at
	// most a tenth of it.
	batchSize int
	clock     clock

	mu        sync.Mutex
	transport *http.Transport
	renewedAt time.Time
	stats     Stats
}

// NewGateway returns a gateway. It does not connect.
func NewGateway(config Config) *Gateway {
	config.firstWait, config.maxWait = cmp.Or(config.firstWait, 500*time.Millisecond), cmp.Or(config.maxWait, time.Minute)
	config.Timeout = cmp.Or(config.Timeout, defaultTimeout)
	config.Log = cmp.Or(config.Log, slog.New(slog.DiscardHandler))
	if config.dial == nil {
		config.dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	g := &Gateway{config: config, renewedAt: time.Now(), stats: Stats{Requests: map[int]int64{}}}
	g.pace, g.batchSize = newPace(config.MaxEventsPerSecond, config.BatchSize)
	g.transport = g.newTransport()
	return g
}

func (g *Gateway) newTransport() *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := g.config.dial(ctx, network, address)
			if err == nil {
				g.count(func(s *Stats) { s.Connections++ })
			}
			return conn, err
		},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: g.config.Concurrency,
		MaxConnsPerHost:     g.config.Concurrency,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}
}

// Concurrency returns how many batches may be in flight.
func (g *Gateway) Concurrency() int { return g.config.Concurrency }

// Close closes idle connections. Nothing may be under way.
func (g *Gateway) Close() { g.connections().CloseIdleConnections() }

// admit waits until due, for the pause of all senders to end, and for a slot of
// the rate limit. The error is of kind [fault.Interrupted], or errLate if until, unless
// it is zero, passes before the pause ends.
func (g *Gateway) admit(ctx context.Context, stop <-chan struct{}, due, until time.Time) error {
	for {
		select {
		case <-stop:
			return errStopped()
		default:
		}
		due = g.afterPause(due)
		if !until.IsZero() && due.After(until) {
			return errLate
		}
		if delay := time.Until(due); delay > 0 {
			if err := wait(ctx, stop, delay); err != nil {
				return err
			}
			continue // The pause may have become longer meanwhile.
		}
		if g.pace == nil {
			return nil
		}
		began := time.Now()
		err := g.pace.wait(ctx, stop)
		g.count(func(s *Stats) { s.Limited += time.Since(began) })
		if err != nil || !g.afterPause(due).After(due) {
			return err
		}
	}
}

// pause holds all senders back for d from now on, by the monotonic clock: both ends of it, and
// what it is compared with, come from time.Now with their monotonic readings, which nothing here
// may strip. So a clock that is put back makes it no longer.
func (g *Gateway) pause(d time.Duration) {
	until := time.Now().Add(d)
	g.mu.Lock()
	defer g.mu.Unlock()
	if until.After(g.stats.PausedUntil) {
		g.stats.PausedUntil = until
	}
}

// afterPause returns the end of the pause, or due if that is later.
func (g *Gateway) afterPause(due time.Time) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stats.PausedUntil.After(due) {
		return g.stats.PausedUntil
	}
	return due
}

// connections returns what the next attempt goes over.
func (g *Gateway) connections() *http.Transport {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.transport
}

// renew replaces the connections after trouble on one of them, and every hour anyway.
// Those that are busy are closed as soon as they are idle. used is what the trouble
// was with; who comes second finds it replaced already.
func (g *Gateway) renew(used *http.Transport, trouble bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.transport == used && (trouble || time.Since(g.renewedAt) >= renewEvery) {
		g.transport, g.renewedAt = g.newTransport(), time.Now()
		used.CloseIdleConnections()
	}
}
