package segment

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxAnswer bounds how much of an answer is read.
const maxAnswer = 1 << 20

var errRedirect = errors.New("redirected")

// recorder is the transport of one attempt. analytics-go tells of a failed
// request only as text, follows redirects (turning a POST into a GET, whose 200 it
// takes for success) and leaves bodies unread, which costs the connection. This
// one remembers status and Retry-After, refuses redirects, and drains bodies.
//
// The time limit is analytics-go's own, 10 s for an attempt.
type recorder struct {
	base http.RoundTripper
	// ctx ends the attempt early; the client's requests carry no context of ours.
	ctx context.Context //nolint:containedctx // One attempt long; the client has no other way in.

	requests   int
	status     int
	retryAfter time.Duration
	receivedAt time.Time
	err        error
}

// RoundTrip implements [http.RoundTripper].
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()

	r.requests++
	res, err := r.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		r.err = err
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	_ = res.Body.Close() // It was read, nothing can be lost.
	r.receivedAt = time.Now()
	if err != nil {
		// Cut off in the middle: nobody knows whether it was accepted.
		r.err = err
		return nil, err
	}
	r.status = res.StatusCode
	r.retryAfter = retryAfter(res.Header, r.receivedAt)
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		r.err = errRedirect
		return nil, errRedirect
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3), 0 if there is
// neither; X-RateLimit-Reset is Segment's own name for it.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if value == "" {
		value = header.Get("X-RateLimit-Reset")
	}
	var d time.Duration
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		d = time.Duration(min(seconds, maxRetryAfter.Seconds()) * float64(time.Second))
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return min(max(0, d), maxRetryAfter)
}
