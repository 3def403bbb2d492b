package alert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// tries is how often a notice is tried at a service, and the ping URL.
const tries = 3

// Services is where people find the form of the URLs.
const Services = "https://shoutrrr.nickfedor.com"

// Sender tells notices to all services of a config. It is safe for concurrent use.
type Sender struct {
	services []*service
	ping     secret.String
	log      *slog.Logger

	// limit is that of one attempt, wait that between the first two.
	limit, wait time.Duration
}

// Result is how the sending to one service ended.
type Result struct {
	// Number of the service among alerts.urls, from 1, and its name, such as slack.
	Number  int
	Service string
	Err     error
}

// NewSender returns a sender for the services of a config; log, which may be nil, is told
// of what is tried again. It connects to nothing. URLs that will not do come as one error
// each, of kind [fault.Config], joined.
func NewSender(cfg config.Alerts, log *slog.Logger) (*Sender, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Sender{ping: cfg.PingURL, log: log, limit: attemptLimit, wait: time.Second}
	var errs []error
	for i, raw := range cfg.URLs {
		one := newService(i+1, raw, log)
		s.services, errs = append(s.services, one), append(errs, one.unusable())
	}
	return s, errors.Join(errs...)
}

// unusable is what the library finds wrong with the URL of a service. It connects to nothing.
func (s *service) unusable() error {
	err := guarded(func() error {
		_, err := s.open(true)
		return err
	})
	if err == nil {
		return nil
	}
	e := &fault.Error{Kind: fault.Config, Text: fmt.Sprintf("reading URL %d of alerts.urls (%s)", s.number, s.name), Err: err}
	return e.WithHint("Write it in the form that %s gives for its service; `candu-loader alert test` tries it.", Services)
}

// Services returns how many services there are.
func (s *Sender) Services() int { return len(s.services) }

// Pings tells whether there is a ping URL.
func (s *Sender) Pings() bool { return s.ping != "" }

// SendEach tells a notice to all services at once, and returns how each fared, in the
// order of the config. One that fails does not stop the others.
func (s *Sender) SendEach(ctx context.Context, n Notice) []Result {
	results := make([]Result, len(s.services))
	var group sync.WaitGroup
	for i, one := range s.services {
		group.Go(func() {
			doing := fmt.Sprintf("sending to service %d of alerts.urls (%s)", one.number, one.name)
			err := s.insist(ctx, doing, func(ctx context.Context) error { return one.send(ctx, n) })
			results[i] = Result{Number: one.number, Service: one.name, Err: err}
		})
	}
	group.Wait()
	return results
}

// Observe is [Next] with the sending of its notices. It returns the state to keep, in which
// a notice counts as told once it reached one of the services, or if there is none; one
// that reached nobody comes again with the next observation. The results are those of all
// notices.
func (s *Sender) Observe(ctx context.Context, state State, o Observation, lagOver time.Duration) (State, []Result) {
	var all []Result
	next := each(state, o, lagOver, func(n Notice) bool {
		results := s.SendEach(ctx, n)
		all = append(all, results...)
		return len(results) == 0 || slices.ContainsFunc(results, func(r Result) bool { return r.Err == nil })
	})
	return next, all
}

// Ping asks the ping URL with GET, for a dead man's switch that alerts when nobody does.
// Without one it does nothing.
func (s *Sender) Ping(ctx context.Context) error {
	if s.ping == "" {
		return nil
	}
	return s.insist(ctx, "asking alerts.ping_url", func(ctx context.Context) error { return trouble(s.get(ctx)) })
}

func (s *Sender) get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.ping.Reveal(), http.NoBody)
	if err != nil {
		return err
	}
	client := http.Client{CheckRedirect: func(next *http.Request, before []*http.Request) error {
		// The path is the token; it is for that host alone.
		if next.URL.Host != before[0].URL.Host || len(before) > 3 {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // So that the connection can be used again.
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return answerError(res.StatusCode)
	}
	return nil
}

// insist tries a step a few times, each with the limit. The errors of step have no
// secrets.
func (s *Sender) insist(ctx context.Context, doing string, step func(context.Context) error) error {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.Multiplier = s.wait, 2
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		attempt, cancel := context.WithTimeout(ctx, s.limit)
		defer cancel()
		err := step(attempt)
		switch {
		case err == nil:
			return struct{}{}, nil
		case ctx.Err() != nil:
			return struct{}{}, backoff.Permanent(fault.Wrap(fault.Interrupted, context.Cause(ctx), "interrupted"))
		case attempt.Err() != nil:
			err = fmt.Errorf("no answer in %s", s.limit)
		}
		if answer, ok := errors.AsType[answerError](err); ok && answer.final() {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(waits), backoff.WithMaxTries(tries), backoff.WithNotify(func(err error, wait time.Duration) {
		s.log.Warn("retrying: "+doing, "error", err, "wait", wait)
	}))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fault.Wrap(fault.Interrupted, context.Cause(ctx), "%s", doing)
	default:
		return (&fault.Error{Kind: fault.Failed, Text: doing, Err: err}).WithHint("Look at the URL and at the service, then: candu-loader alert test")
	}
}
