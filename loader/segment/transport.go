package segment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/candu-loader/candu-loader/loader/secret"
)

var errSecondRequest = errors.New("a second request of one attempt")

// recorder is the transport of one attempt. analytics-go tells of a failed
// request only as text, takes any 2xx for success, follows redirects (turning a POST into a
// GET) and leaves bodies unread, which costs the connection. This one decides what an
// acceptance is, gives everything else back as an error, remembers status and Retry-After, and
// drains bodies.
type recorder struct {
	base http.RoundTripper
	key  secret.String
	// ctx ends the attempt early; the client's requests carry no context of ours.
	ctx context.Context //nolint:containedctx // One attempt long; the client has no other way in.
	// timeout bounds the attempt.
	timeout time.Duration

	// requests counts; only the first one goes out, and writes what follows.
	requests   atomic.Int64
	left       atomic.Bool // a part of the request went out
	status     int
	retryAfter time.Duration
	receivedAt time.Time
	err        error
}

// RoundTrip implements [http.RoundTripper].
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.requests.Add(1) > 1 {
		return nil, errSecondRequest
	}
	res, err := r.exchange(req)
	r.err = err
	return res, err
}

func (r *recorder) exchange(req *http.Request) (*http.Response, error) {
	// Neither the request's own context nor its Cancel: analytics-go puts a limit
	// of 10 s on them, which a batch over a slow line may need alone to be sent.
	ctx, cancel := context.WithTimeoutCause(r.ctx, r.timeout, fmt.Errorf("no answer within %s", r.timeout))
	defer cancel()
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { r.left.Store(true) }}))
	req.Cancel = nil //nolint:staticcheck // SA1019: deprecated, but the way in which http.Client keeps its Timeout.
	res, err := r.base.RoundTrip(req)
	if err != nil {
		return nil, why(ctx, err)
	}
	// One byte more than counts, to see whether there is more.
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	_ = res.Body.Close() // What counts was read, nothing can be lost.
	if err != nil {
		// Cut off in the middle: nobody knows whether it was accepted.
		return nil, why(ctx, err)
	}
	r.receivedAt = time.Now()
	r.status = res.StatusCode
	r.retryAfter = retryAfter(res.Header, r.receivedAt)
	if err := accepts(res, body[:min(len(body), maxAnswer)], len(body) > maxAnswer, r.key); err != nil {
		return nil, err
	}
	res.Body = http.NoBody
	return res, nil
}

// why returns the reason for which ctx ended, if it did, for the transport's own
// error then only says that it ended.
func why(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3), 0 if there is
// neither; X-RateLimit-Reset is Segment's own name for it. A date is of the server's clock, and
// so is the answer's own; ours counts only if the answer has none.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := cmp.Or(header.Get("Retry-After"), header.Get("X-RateLimit-Reset"))
	var d time.Duration
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		d = time.Duration(min(seconds, maxRetryAfter.Seconds()) * float64(time.Second))
	} else if at, err := http.ParseTime(value); err == nil {
		if date, err := http.ParseTime(header.Get("Date")); err == nil {
			now = date
		}
		d = at.Sub(now)
	}
	return min(max(0, d), maxRetryAfter)
}
