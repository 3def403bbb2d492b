// Package segment delivers events to Segment. It is the only one that speaks
// HTTP to it, through analytics-go.
package segment

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"github.com/candu-loader/candu-loader/loader/fault"
)

const (
	// maxRetryAfter caps what a Retry-After may ask for, as Segment's own
	// libraries do.
	maxRetryAfter = 300 * time.Second
	// renewEvery is how often idle connections are closed, so that the host's name
	// is looked up again: Segment's addresses change without notice
	// (https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/).
	renewEvery = time.Hour
	// slotsPerSecond and slack keep the rate limit, see newLimiter.
	slotsPerSecond = 10
	slack          = 1.006
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
	// Version is sent as context.integration.version.
	Version string
	// Log is told of requests that are tried again; nil = nobody.
	Log *slog.Logger

	// firstWait and maxWait bound the backoff; zero means 0.5 s and 60 s.
	firstWait, maxWait time.Duration
}

// Gateway is what all senders of a process share: connections, the rate limit,
// and the pause that Segment may ask for. It is safe for concurrent use.
type Gateway struct {
	config    Config
	transport *http.Transport
	limiter   *rate.Limiter // nil = no limit
	batchSize int

	// pausedUntil is in unix nanoseconds.
	pausedUntil atomic.Int64
	lastRenewal atomic.Int64
	stats       stats
}

// randPool makes analytics-go's own ids (one for each event, replaced by ours)
// cheap: a system call for each would cost more than the encoding.
var randPool = sync.OnceFunc(uuid.EnableRandPool)

// NewGateway returns a gateway. It does not connect.
func NewGateway(config Config) *Gateway {
	randPool()
	if config.firstWait == 0 {
		config.firstWait, config.maxWait = 500*time.Millisecond, time.Minute
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{config: config, stats: stats{byStatus: map[int]int64{}}}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	g.transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			g.stats.connections.Add(1)
			return dialer.DialContext(ctx, network, address)
		},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: config.Concurrency,
		MaxConnsPerHost:     config.Concurrency,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}
	g.limiter, g.batchSize = newLimiter(config.MaxEventsPerSecond, config.BatchSize)
	g.lastRenewal.Store(time.Now().UnixNano())
	return g
}

// newLimiter cuts each second into slots of equal size, and lets one request of
// at most a slot's events through in each. The slots stand a little more than their share
// of a second apart, so no second, wherever it begins, holds more than the
// limit, and yet more than 99 % of it is used. A plain bucket of events would let a burst
// and a second's worth through within one second.
func newLimiter(perSecond, batchSize int) (*rate.Limiter, int) {
	if perSecond <= 0 {
		return nil, batchSize
	}
	size := min(batchSize, max(1, perSecond/slotsPerSecond))
	slots := max(1, perSecond/size)
	return rate.NewLimiter(rate.Limit(float64(slots)/slack), 1), size
}

// Concurrency returns how many batches may be in flight.
func (g *Gateway) Concurrency() int { return g.config.Concurrency }

// BatchSize returns the greatest number of events of one request.
func (g *Gateway) BatchSize() int { return g.batchSize }

// Close closes idle connections. Nothing may be under way.
func (g *Gateway) Close() { g.transport.CloseIdleConnections() }

// admit waits for the pause to end and for a slot of the rate limit.
func (g *Gateway) admit(ctx context.Context, stop <-chan struct{}) error {
	for {
		pause := time.Until(time.Unix(0, g.pausedUntil.Load()))
		if pause <= 0 {
			break
		}
		if err := wait(ctx, stop, pause); err != nil {
			return err
		}
	}
	if g.limiter == nil {
		return nil
	}
	slot := g.limiter.Reserve()
	delay := slot.Delay()
	g.stats.limited.Add(int64(delay))
	if err := wait(ctx, stop, delay); err != nil {
		slot.Cancel()
		return err
	}
	return nil
}

// pause holds all senders back for d from now on.
func (g *Gateway) pause(d time.Duration) {
	until := time.Now().Add(d).UnixNano()
	for {
		now := g.pausedUntil.Load()
		if now >= until || g.pausedUntil.CompareAndSwap(now, until) {
			return
		}
	}
}

// renew closes idle connections after trouble, and now and then anyway.
func (g *Gateway) renew(trouble bool) {
	now := time.Now().UnixNano()
	last := g.lastRenewal.Load()
	if !trouble && now-last < int64(renewEvery) {
		return
	}
	if g.lastRenewal.CompareAndSwap(last, now) {
		g.transport.CloseIdleConnections()
	}
}

// wait sleeps for d unless ctx or stop ends it.
func wait(ctx context.Context, stop <-chan struct{}, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-stop:
		return fault.New(fault.Interrupted, "waiting to send: interrupted")
	case <-ctx.Done():
		return fault.Wrap(fault.Interrupted, context.Cause(ctx), "waiting to send")
	}
}
