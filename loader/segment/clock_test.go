package segment

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

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

// arrival is a request that the server in memory has seen.
type arrival struct {
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
	requests []arrival
}

func (b *bubble) seen() []arrival {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.requests
}

// inBubble runs test in virtual time with a server that answers with the handler; its
// number counts from 1.
func inBubble(t *testing.T, change func(*Config), answer func(w http.ResponseWriter, r *http.Request, number int, got arrival), test func(b *bubble)) {
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
			got := arrival{at: time.Now(), sentAt: body.SentAt}
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
func answers(statuses ...int) func(http.ResponseWriter, *http.Request, int, arrival) {
	return func(w http.ResponseWriter, _ *http.Request, number int, _ arrival) {
		w.WriteHeader(statuses[min(number, len(statuses))-1])
	}
}

// slow answers 200 after d, or never if the client goes away before.
func slow(d time.Duration) func(http.ResponseWriter, *http.Request, int, arrival) {
	return func(_ http.ResponseWriter, r *http.Request, _ int, _ arrival) {
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
		d, err := deliver(t.Context(), b.sender, nil, b.events(t, 3))
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
		_, err := deliver(t.Context(), b.sender, nil, b.events(t, 1))
		require.Equal(t, fault.Retryable, fault.KindOf(err))
		require.EqualError(t, err, "sending a batch of 1 event for 30s in 1 attempt: no answer within 30s")
		require.Equal(t, 30*time.Second, b.after(time.Now()))
	})
	// The connection that hung is not used again.
	inBubble(t, nil, func(w http.ResponseWriter, r *http.Request, number int, got arrival) {
		if number == 1 {
			slow(time.Hour)(w, r, number, got)
		}
	}, func(b *bubble) {
		t := b.t
		d, err := deliver(t.Context(), b.sender, nil, b.events(t, 1))
		require.NoError(t, err)
		require.Equal(t, 1, d.Retries)
		require.EqualValues(t, 2, b.gateway.Stats().Connections)
	})
}

func TestClock_RetriesGrowApartAndEndInTime(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, answers(503), func(b *bubble) {
		t := b.t
		_, err := deliver(t.Context(), b.sender, nil, b.events(t, 2))
		require.Equal(t, fault.Retryable, fault.KindOf(err))
		requests := b.seen()
		require.EqualError(t, err, fmt.Sprintf("sending a batch of 2 events for 15m in %d attempts: answer 503", len(requests)))
		require.Equal(t, 15*time.Minute, b.after(time.Now()))
		require.Equal(t, 15*time.Minute, b.after(requests[len(requests)-1].at), "once more when the time is up")
		for i, r := range requests {
			require.Equal(t, requests[0].ids, r.ids, "the same messageIds")
			require.WithinDuration(t, r.at, r.sentAt, 0, "a fresh sentAt")
			if i > 0 {
				wait := r.at.Sub(requests[i-1].at)
				if i < len(requests)-1 {
					require.GreaterOrEqual(t, wait, 250*time.Millisecond)
				}
				require.LessOrEqual(t, wait, time.Minute)
			}
		}
		require.Less(t, len(requests), 60)
	})
}

// Where Segment goes away while a batch is halved, the time for retries begins there.
func TestClock_HalvesEndInTime(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w http.ResponseWriter, _ *http.Request, number int, got arrival) {
		switch {
		case number > 10:
			w.WriteHeader(http.StatusServiceUnavailable)
		case len(got.ids) > 1:
			w.WriteHeader(http.StatusBadRequest)
		}
	}, func(b *bubble) {
		t := b.t
		d, err := deliver(t.Context(), b.sender, nil, b.events(t, 64))
		require.Equal(t, fault.Retryable, fault.KindOf(err))
		require.NotEmpty(t, d.Accepted, "what was accepted before is not forgotten")
		require.Equal(t, 15*time.Minute, b.after(time.Now()))
	})
}

func TestClock_RetryAfterHoldsAllSenders(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]time.Duration{"100": 100 * time.Second, "1000": 300 * time.Second, "": 500 * time.Millisecond} {
		inBubble(t, nil, func(w http.ResponseWriter, _ *http.Request, number int, _ arrival) {
			if number == 1 {
				w.Header().Set("Retry-After", asked)
				w.WriteHeader(http.StatusTooManyRequests)
			}
		}, func(b *bubble) {
			t := b.t
			one, two := b.events(t, 1), b.events(t, 2)[1:]
			var group sync.WaitGroup
			group.Go(func() {
				_, err := deliver(context.Background(), b.sender, nil, one)
				require.NoError(t, err)
			})
			synctest.Wait()
			end := b.gateway.Stats().PausedUntil
			require.InDelta(t, want, b.after(end), float64(want)/2, "without Retry-After the jitter of the backoff")
			if asked != "" {
				require.Equal(t, want, b.after(end))
			}
			other := b.gateway.Sender("another", b.encoder)
			_, err := deliver(t.Context(), other, nil, two)
			require.NoError(t, err)
			group.Wait()
			require.Len(t, b.seen(), 3)
			for _, r := range b.seen()[1:] {
				require.False(t, r.at.Before(end))
			}
		})
	}
}

// The end of a pause stays where it is when the clock is put back meanwhile. (In a bubble there is
// no monotonic clock.)
func TestPause_IsMonotonic(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	const pause = 50 * time.Millisecond
	began := time.Now()
	b.gateway.pause(pause)
	// The clock is put back by an hour: by it, the end lies an hour further away.
	putForward(&b.gateway.stats.PausedUntil, time.Hour)
	require.Greater(t, b.gateway.stats.PausedUntil.Round(0).Sub(began.Round(0)), time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := deliver(ctx, b.sender, nil, b.events(t, 1))
	require.NoError(t, err, "the pause has become longer")
	require.GreaterOrEqual(t, time.Since(began), pause)
}

// putForward changes what a time says of the wall clock, and leaves its monotonic reading alone.
func putForward(at *time.Time, d time.Duration) {
	// The first word of a time with a monotonic reading has the seconds above 30 bits of
	// nanoseconds.
	*(*uint64)(unsafe.Pointer(at)) += uint64(d/time.Second) << 30
}

func TestClock_APauseBeyondRetryForFailsAtOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(c *Config) { c.RetryFor = time.Minute }, func(w http.ResponseWriter, _ *http.Request, _ int, _ arrival) {
		w.Header().Set("Retry-After", "61")
		w.WriteHeader(http.StatusServiceUnavailable)
	}, func(b *bubble) {
		t := b.t
		_, err := deliver(t.Context(), b.sender, nil, b.events(t, 1))
		require.Equal(t, fault.Retryable, fault.KindOf(err))
		require.Zero(t, b.after(time.Now()))
	})
}

func TestClock_StopEndsWaitingButNotAnAttempt(t *testing.T) {
	t.Parallel()
	send := func(b *bubble, stop chan struct{}, events []event.Event) (d Batch, err error) {
		time.AfterFunc(10*time.Second, func() { close(stop) })
		return deliver(context.Background(), b.sender, stop, events)
	}
	inBubble(t, nil, slow(20*time.Second), func(b *bubble) {
		t := b.t
		stop := make(chan struct{})
		d, err := send(b, stop, b.events(t, 2))
		require.NoError(t, err, "what is under way is finished")
		require.Equal(t, []int{0, 1}, acceptedOf(d))

		_, err = deliver(t.Context(), b.sender, stop, b.events(t, 2))
		require.Equal(t, fault.Interrupted, fault.KindOf(err))
		require.Len(t, b.seen(), 1, "nothing is begun after stop")
	})
	inBubble(t, nil, func(w http.ResponseWriter, _ *http.Request, _ int, _ arrival) {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
	}, func(b *bubble) {
		t := b.t
		_, err := send(b, make(chan struct{}), b.events(t, 2))
		require.Equal(t, fault.Interrupted, fault.KindOf(err))
		require.Equal(t, 10*time.Second, b.after(time.Now()), "a pause ends at once")
		require.Len(t, b.seen(), 1)
	})
	inBubble(t, nil, func(w http.ResponseWriter, r *http.Request, number int, got arrival) {
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
		require.Equal(t, []int{3}, acceptedOf(d), "what is under way counts, nothing else is begun")
	})
}

func TestClock_CancellingEndsAnAttempt(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, slow(time.Hour), func(b *bubble) {
		t := b.t
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := deliver(ctx, b.sender, nil, b.events(t, 1))
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
			_, err := deliver(t.Context(), b.sender, nil, events)
			require.NoError(t, err)
			require.NoError(t, wait(t.Context(), nil, time.Minute))
		}
		require.EqualValues(t, 3, b.gateway.Stats().Connections)
	})
	inBubble(t, nil, answers(200, 500, 200), func(b *bubble) {
		t := b.t
		for range 2 {
			_, err := deliver(t.Context(), b.sender, nil, b.events(t, 1))
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
					_, err := deliver(context.Background(), sender, nil, events)
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
