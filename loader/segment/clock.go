package segment

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
)

// Beyond WarnSkew a clock is worth a warning, beyond maxSkew no event is sent.
const (
	WarnSkew = time.Minute
	maxSkew  = 5 * time.Minute
)

// clock compares this machine's clock with the endpoint's, as the Date header of each answer tells
// it. Segment takes receivedAt - (sentAt - timestamp) for an event's time, so what this clock is off
// by shifts every event, for ever.
type clock struct {
	mu sync.Mutex
	// ahead is how far this machine's clock is ahead, as far as is sure; less than 0 = behind.
	ahead time.Duration
	// warned keeps the warning from being said with each answer.
	warned bool
}

// dated looks at the clock of each answer.
type dated struct {
	base    http.RoundTripper
	observe func(time.Duration)
}

// RoundTrip implements [http.RoundTripper].
func (d dated) RoundTrip(req *http.Request) (*http.Response, error) {
	sent := time.Now()
	res, err := d.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if ahead, ok := aheadOf(res.Header, sent, time.Now()); ok {
		d.observe(ahead)
	}
	return res, nil
}

// aheadOf returns how far a clock by which a request was sent and its answer received is ahead of
// the one in the answer, at least; less than 0 = behind. The answer was written at some moment in
// between, and its time is cut to whole seconds. false: it tells no time.
func aheadOf(header http.Header, sent, received time.Time) (time.Duration, bool) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return 0, false
	}
	if age, err := strconv.Atoi(header.Get("Age")); err == nil {
		date = date.Add(time.Duration(age) * time.Second) // It comes from a cache.
	}
	// Not the monotonic clock: it is never off. If the other was put right meanwhile, sent may be
	// the later one.
	sent, received = sent.Round(0), received.Round(0)
	if received.Before(sent) {
		sent, received = received, sent
	}
	if least := sent.Sub(date) - time.Second; least > 0 {
		return least, true
	}
	return min(0, received.Sub(date)), true
}

// set takes notice of how far this machine's clock is ahead; true = it is worth a warning that was
// not said yet.
func (c *clock) set(ahead time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	off := ahead.Abs() > WarnSkew
	warn := off && !c.warned
	c.ahead, c.warned = ahead, off
	return warn
}

// check refuses a clock that is too far off.
func (c *clock) check(endpoint string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ClockError(endpoint, c.ahead)
}

// ClockError is a [fault.Precondition] if this machine's clock is so far ahead of the endpoint's, or
// behind it, that no event may be sent.
func ClockError(endpoint string, ahead time.Duration) error {
	if ahead.Abs() <= maxSkew {
		return nil
	}
	return fault.New(fault.Precondition, "comparing clocks with %s: this machine's is %s", endpoint, Skew(ahead)).
		WithHint("Put this machine's clock right (NTP) and run again. Segment shifts the time of every event by as much, for ever, so no more is sent than was under way.")
}

// Skew says how far a clock is ahead, or behind.
//
// A second or two of it is never sure, so it is rounded: from a minute on to ten seconds, from an
// hour on to minutes.
func Skew(ahead time.Duration) string {
	word, off := " ahead", ahead
	if ahead < 0 {
		word, off = " behind", -ahead
	}
	switch {
	case off >= time.Hour-30*time.Second:
		off = off.Round(time.Minute)
	case off >= time.Minute-time.Second:
		off = off.Round(10 * time.Second)
	}
	return human.Duration(off) + word
}

// CheckClock asks the endpoint for the time, whatever else it answers. The error is a
// [fault.Precondition] if the clock is so far off that no event may be sent; if nobody answers, the
// first answer to a batch decides. It takes 3 s at most.
func (g *Gateway) CheckClock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, g.config.Endpoint+"/", http.NoBody)
	if err != nil {
		return nil // Sending says what is wrong with the endpoint.
	}
	req.Header.Set("Cache-Control", "no-cache")
	asking := dated{g.connections(), func(ahead time.Duration) {
		if g.clock.set(ahead) && ClockError(g.config.Endpoint, ahead) == nil {
			g.warn(ahead)
		}
	}}
	if res, err := asking.RoundTrip(req); err == nil {
		_ = res.Body.Close()
	}
	return g.clock.check(g.config.Endpoint)
}

// dated makes a transport look at the clock of each answer. Beyond five minutes too it warns: there
// may be no further batch to refuse.
func (g *Gateway) dated(base http.RoundTripper) dated {
	return dated{base, func(ahead time.Duration) {
		if g.clock.set(ahead) {
			g.warn(ahead)
		}
	}}
}

func (g *Gateway) warn(ahead time.Duration) {
	g.config.Log.Warn("this machine's clock differs from Segment's, which shifts the time of every event by as much",
		"endpoint", g.config.Endpoint, "ahead", ahead.Round(time.Second))
}
