package segment

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
)

// pipes is a network of one server in memory, so that hours of waiting pass at
// once in a bubble of synctest, with the real client and the real analytics-go.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.accept <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accept:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

// request is one that the server in memory has seen.
type request struct {
	at     time.Time
	ids    []string
	sentAt time.Time
}

// bubble is a sender in virtual time, and what it sent.
type bubble struct {
	*testBundle
	// t is the bubble's own.
	t     *testing.T
	began time.Time

	mu       sync.Mutex
	requests []request
}

func (b *bubble) seen() []request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.requests
}

// inBubble runs test in virtual time with a server that answers with the handler; its
// number counts from 1.
func inBubble(t *testing.T, change func(*Config), answer func(w http.ResponseWriter, r *http.Request, number int, got request), test func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
		config := Config{Endpoint: "http://127.0.0.1", Concurrency: 4, BatchSize: 1000, RetryFor: 15 * time.Minute, dial: network.dial}
		if change != nil {
			change(&config)
		}
		b := &bubble{t: t, testBundle: &testBundle{gateway: NewGateway(config)}, began: time.Now()}
		b.use(NewEncoder(nil))
		server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var body struct {
				SentAt time.Time `json:"sentAt"`
				Batch  []struct {
					MessageID string `json:"messageId"`
				} `json:"batch"`
			}
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				panic(http.ErrAbortHandler)
			}
			got := request{at: time.Now(), sentAt: body.SentAt}
			for _, e := range body.Batch {
				got.ids = append(got.ids, e.MessageID)
			}
			b.mu.Lock()
			b.requests = append(b.requests, got)
			number := len(b.requests)
			b.mu.Unlock()
			said := &sayer{ResponseWriter: w, status: http.StatusOK}
			if answer != nil {
				answer(said, r, number, got)
			}
			said.success()
		})}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(network)
		}()
		defer func() {
			b.gateway.Close()
			_ = server.Close()
			<-done
		}()
		test(b)
	})
}

// sayer is a handler's answer, which says success where the handler says nothing else.
type sayer struct {
	http.ResponseWriter

	status int
}

func (s *sayer) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (s *sayer) success() {
	if s.status == http.StatusOK {
		_, _ = io.WriteString(s.ResponseWriter, success)
	}
}

// answers gives the statuses one after the other, the last one for ever.
func answers(statuses ...int) func(http.ResponseWriter, *http.Request, int, request) {
	return func(w http.ResponseWriter, _ *http.Request, number int, _ request) {
		w.WriteHeader(statuses[min(number, len(statuses))-1])
	}
}

// slow answers 200 after d, or never if the client goes away before.
func slow(d time.Duration) func(http.ResponseWriter, *http.Request, int, request) {
	return func(_ http.ResponseWriter, r *http.Request, _ int, _ request) {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
	}
}

// after says how long after the beginning something happened.
func (b *bubble) after(at time.Time) time.Duration { return at.Sub(b.began) }

// analytics-go would give up after 10 s; a slow answer is no reason to send again.
func TestClock_ASlowAnswerIsAwaited(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, slow(29*time.Second), func(b *bubble) {
		t := b.t
		d, err := b.sender.Send(t.Context(), nil, b.events(t, 3))
		require.NoError(t, err)
		require.Zero(t, d.Retries)
		require.Equal(t, []int{0, 1, 2}, acceptedOf(d))
		require.Equal(t, []time.Duration{0, 29 * time.Second}, []time.Duration{b.after(d.Accepted[0].SentAt), b.after(d.Accepted[0].ReceivedAt)})
	})
}

func TestClock_AHalfOpenConnectionEndsAfterTheTimeout(t *testing.T) {
	t.Parallel()
	inBubble(t, func(c *Config) { c.RetryFor = 30 * time.Second }, slow(time.Hour), func(b *bubble) {
		t := b.t
		_, err := b.sender.Send(t.Context(), nil, b.events(t, 1))
		require.Equal(t, fault.Retryable, fault.KindOf(err))
		require.EqualError(t, err, "sending a batch of 1 event for 30s: no answer within 30s")
		require.Equal(t, 30*time.Second, b.after(time.Now()))
	})
	// The connection that hung is not used again.
	inBubble(t, nil, func(w http.ResponseWriter, r *http.Request, number int, got request) {
		if number == 1 {
			slow(time.Hour)(w, r, number, got)
		}
	}, func(b *bubble) {
		t := b.t
		d, err := b.sender.Send(t.Context(), nil, b.events(t, 1))
		require.NoError(t, err)
		require.Equal(t, 1, d.Retries)
		require.EqualValues(t, 2, b.gateway.Stats().Connections)
	})
}

func TestClock_RetriesGrowApartAndEndInTime(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, answers(503), func(b *bubble) {
		t := b.t
		_, err := b.sender.Send(t.Context(), nil, b.events(t, 2))
		require.Equal(t, fault.Retryable, fault.KindOf(err))
		require.EqualError(t, err, "sending a batch of 2 events for 15m: answer 503")
		require.LessOrEqual(t, b.after(time.Now()), 15*time.Minute)
		requests := b.seen()
		require.Greater(t, b.after(requests[len(requests)-1].at), 13*time.Minute)
		for i, r := range requests {
			require.Equal(t, requests[0].ids, r.ids, "the same messageIds")
			require.WithinDuration(t, r.at, r.sentAt, 0, "a fresh sentAt")
			if i > 0 {
				wait := r.at.Sub(requests[i-1].at)
				require.GreaterOrEqual(t, wait, 250*time.Millisecond)
				require.LessOrEqual(t, wait, time.Minute)
			}
		}
		require.Less(t, len(requests), 60)
	})
}

// The halves of a batch share its time.
func TestClock_HalvesEndInTime(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w http.ResponseWriter, _ *http.Request, number int, got request) {
		switch {
		case len(got.ids) > 1:
			w.WriteHeader(http.StatusBadRequest)
		case number%10 != 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}, func(b *bubble) {
		t := b.t
		d, err := b.sender.Send(t.Context(), nil, b.events(t, 64))
		require.Equal(t, fault.Retryable, fault.KindOf(err))
		require.NotEmpty(t, d.Accepted, "what was accepted before is not forgotten")
		require.LessOrEqual(t, b.after(time.Now()), 15*time.Minute)
	})
}

func TestClock_RetryAfterHoldsAllSenders(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]time.Duration{"100": 100 * time.Second, "1000": 300 * time.Second, "": 500 * time.Millisecond} {
		inBubble(t, nil, func(w http.ResponseWriter, _ *http.Request, number int, _ request) {
			if number == 1 {
				w.Header().Set("Retry-After", asked)
				w.WriteHeader(http.StatusTooManyRequests)
			}
		}, func(b *bubble) {
			t := b.t
			one, two := b.events(t, 1), b.events(t, 2)[1:]
			var group sync.WaitGroup
			group.Go(func() {
				_, err := b.sender.Send(context.Background(), nil, one)
				require.NoError(t, err)
			})
			synctest.Wait()
			end := b.gateway.Stats().PausedUntil
			require.InDelta(t, want, b.after(end), float64(want)/2, "without Retry-After the jitter of the backoff")
			if asked != "" {
				require.Equal(t, want, b.after(end))
			}
			other := b.gateway.Sender("another", b.encoder)
			_, err := other.Send(t.Context(), nil, two)
			require.NoError(t, err)
			group.Wait()
			require.Len(t, b.seen(), 3)
			for _, r := range b.seen()[1:] {
				require.False(t, r.at.Before(end))
			}
		})
	}
}

func TestClock_APauseBeyondRetryForFailsAtOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(c *Config) { c.RetryFor = time.Minute }, func(w http.ResponseWriter, _ *http.Request, _ int, _ request) {
		w.Header().Set("Retry-After", "61")
		w.WriteHeader(http.StatusServiceUnavailable)
	}, func(b *bubble) {
		t := b.t
		_, err := b.sender.Send(t.Context(), nil, b.events(t, 1))
		require.Equal(t, fault.Retryable, fault.KindOf(err))
		require.Zero(t, b.after(time.Now()))
	})
}

func TestClock_StopEndsWaitingButNotAnAttempt(t *testing.T) {
	t.Parallel()
	send := func(b *bubble, stop chan struct{}, events []event.Event) (d Delivery, err error) {
		time.AfterFunc(10*time.Second, func() { close(stop) })
		return b.sender.Send(context.Background(), stop, events)
	}
	inBubble(t, nil, slow(20*time.Second), func(b *bubble) {
		t := b.t
		stop := make(chan struct{})
		d, err := send(b, stop, b.events(t, 2))
		require.NoError(t, err, "what is under way is finished")
		require.Equal(t, []int{0, 1}, acceptedOf(d))

		_, err = b.sender.Send(t.Context(), stop, b.events(t, 2))
		require.Equal(t, fault.Interrupted, fault.KindOf(err))
		require.Len(t, b.seen(), 1, "nothing is begun after stop")
	})
	inBubble(t, nil, func(w http.ResponseWriter, _ *http.Request, _ int, _ request) {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
	}, func(b *bubble) {
		t := b.t
		_, err := send(b, make(chan struct{}), b.events(t, 2))
		require.Equal(t, fault.Interrupted, fault.KindOf(err))
		require.Equal(t, 10*time.Second, b.after(time.Now()), "a pause ends at once")
		require.Len(t, b.seen(), 1)
	})
	inBubble(t, nil, func(w http.ResponseWriter, r *http.Request, number int, got request) {
		switch number {
		case 1:
			w.WriteHeader(http.StatusBadRequest)
		case 2:
			slow(20*time.Second)(w, r, number, got)
		}
	}, func(b *bubble) {
		t := b.t
		d, err := send(b, make(chan struct{}), b.events(t, 4))
		require.Equal(t, fault.Interrupted, fault.KindOf(err))
		require.Equal(t, []int{0, 1}, acceptedOf(d), "the half under way counts, the other one is not begun")
	})
}

func TestClock_CancellingEndsAnAttempt(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, slow(time.Hour), func(b *bubble) {
		t := b.t
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := b.sender.Send(ctx, nil, b.events(t, 1))
		require.Equal(t, fault.Interrupted, fault.KindOf(err))
		require.Equal(t, 5*time.Second, b.after(time.Now()))
	})
}

// A name is looked up again when a connection is made.
func TestClock_ConnectionsAreRenewed(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, nil, func(b *bubble) {
		t := b.t
		events := b.events(t, 1)
		for range 2 * 61 { // one request a minute for two hours, so that it is never idle for long
			_, err := b.sender.Send(t.Context(), nil, events)
			require.NoError(t, err)
			require.NoError(t, wait(t.Context(), nil, time.Minute))
		}
		require.EqualValues(t, 3, b.gateway.Stats().Connections)
	})
	inBubble(t, nil, answers(200, 500, 200), func(b *bubble) {
		t := b.t
		for range 2 {
			_, err := b.sender.Send(t.Context(), nil, b.events(t, 1))
			require.NoError(t, err)
		}
		require.EqualValues(t, 2, b.gateway.Stats().Connections)
	})
}

// In any second, wherever it begins, at most the limit, and 99 % of it as long as
// there is something to send; with retries and several senders.
func TestClock_RateLimit(t *testing.T) {
	t.Parallel()
	inBubble(t, func(c *Config) { c.MaxEventsPerSecond = 1000 }, answers(200, 200, 500, 200), func(b *bubble) {
		t := b.t
		require.Equal(t, 100, b.gateway.batchSize)
		other := b.gateway.Sender("another", b.encoder)
		var group sync.WaitGroup
		for i := range 4 {
			sender := []*Sender{b.sender, other}[i%2]
			events := b.events(t, 100)
			group.Go(func() {
				for range 50 {
					_, err := sender.Send(context.Background(), nil, events)
					require.NoError(t, err)
				}
			})
		}
		group.Wait()
		requests := b.seen()
		require.Len(t, requests, 201)
		for i := 10; i < len(requests); i++ {
			require.GreaterOrEqual(t, requests[i].at.Sub(requests[i-10].at), time.Second)
		}
		seconds := requests[200].at.Sub(requests[0].at).Seconds()
		require.GreaterOrEqual(t, 200*100/seconds, 990.0)
		require.Positive(t, b.gateway.Stats().Limited)
	})
}
