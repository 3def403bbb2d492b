package segment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	analytics "github.com/segmentio/analytics-go/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/fault"
)

// success is Segment's yes.
const success = `{"success": true}`

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testBundle is a sender and the fake Segment that it sends to.
type testBundle struct {
	gateway *Gateway
	sender  *Sender
	fake    *fakesegment.Server
	encoder *Encoder
	rules   *event.Rules
}

// use makes the bundle's sender send what the encoder makes.
func (b *testBundle) use(encoder *Encoder) {
	b.encoder = encoder
	b.rules = rulesFor(encoder)
	b.sender = b.gateway.Sender("write-key", encoder)
}

func setup(t *testing.T, change func(*Config)) *testBundle {
	t.Helper()
	fake := fakesegment.New(fakesegment.Options{})
	server := httptest.NewUnstartedServer(fake)
	server.Config = fake.HTTP()
	server.Start()
	config := Config{Endpoint: server.URL, Concurrency: 4, BatchSize: 1000, RetryFor: time.Minute, Version: "1.2.3", firstWait: time.Millisecond, maxWait: 5 * time.Millisecond}
	if change != nil {
		change(&config)
	}
	b := &testBundle{gateway: NewGateway(config), fake: fake}
	b.use(NewEncoder(map[string]any{"All": true}))
	t.Cleanup(func() {
		b.gateway.Close()
		server.CloseClientConnections()
		server.Close()
	})
	return b
}

func (b *testBundle) events(t *testing.T, n int) []event.Event {
	t.Helper()
	rows := make([]event.Interaction, n)
	events := make([]event.Event, n)
	for i := range rows {
		rows[i] = event.Interaction{
			ID: strconv.Itoa(i), Kind: []string{"view", "interaction"}[i%2], UserID: fmt.Sprintf("u%d", i), TutorialID: "7", SegmentID: "Everyone",
			EventName: "Clicked <b>", OccurredAt: time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC),
		}
		made, reject := b.rules.Convert(&rows[i])
		require.Nil(t, reject)
		events[i] = made
	}
	return events
}

// deliver delivers a batch as the pipeline does that has nothing else to send.
func deliver(ctx context.Context, s *Sender, stop <-chan struct{}, events []event.Event) (Batch, error) {
	b := Batch{Events: events}
	err := s.Send(ctx, stop, &b)
	if err == nil && b.Undecided() {
		err = s.Settle(ctx, stop, []*Batch{&b}, nil)
	}
	b.Events = nil
	return b, err
}

// acceptedOf returns the indexes that a delivery says were accepted.
func acceptedOf(d Batch) []int {
	var all []int
	for _, a := range d.Accepted {
		for i := a.From; i < a.To; i++ {
			all = append(all, i)
		}
	}
	slices.Sort(all)
	return all
}

func status(code int) fakesegment.Faults {
	return fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Status, Status: code}}}
}

func TestSend_WireFormat(t *testing.T) {
	t.Parallel()
	var body map[string]any
	var header http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		_ = json.NewDecoder(r.Body).Decode(&body)
		_, _ = io.WriteString(w, success)
	}))
	t.Cleanup(server.Close)
	b := setup(t, func(c *Config) { c.Endpoint = server.URL })
	d, err := deliver(t.Context(), b.sender, nil, b.events(t, 2))
	require.NoError(t, err)
	require.Len(t, d.Accepted, 1)
	require.Equal(t, "Basic d3JpdGUta2V5Og==", header.Get("Authorization"))
	require.Equal(t, "application/json", header.Get("Content-Type"))
	sentAt, err := time.Parse(time.RFC3339Nano, body["sentAt"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, d.Accepted[0].SentAt, sentAt, time.Minute)
	require.False(t, d.Accepted[0].ReceivedAt.Before(d.Accepted[0].SentAt))
	require.Equal(t, map[string]any{"name": Library().Name, "version": Library().Version}, body["context"].(map[string]any)["library"])
	delete(body, "sentAt")
	delete(body, "messageId")
	got, err := json.Marshal(body)
	require.NoError(t, err)
	require.JSONEq(t, `{
		"context": {"integration": {"name": "candu", "version": "1.2.3"}, "library": {"name": "analytics-go", "version": "3.0.0"}},
		"batch": [
			{"type": "screen", "messageId": "019b7ca9-8f2e-8e29-a9d5-3e9a16ccc7a1", "userId": "u0", "name": "tutorial.view", "timestamp": "2026-01-02T03:04:05.678901Z",
			 "properties": {"tutorialId": 7, "segmentId": "Everyone"}, "integrations": {"All": true}},
			{"type": "track", "messageId": "MESSAGE2", "userId": "u1", "event": "tutorial.interaction", "timestamp": "2026-01-02T03:04:05.678901Z",
			 "properties": {"tutorialId": 7, "segmentId": "Everyone", "eventName": "Clicked <b>"}, "integrations": {"All": true}}]}`,
		strings.ReplaceAll(strings.ReplaceAll(string(got), b.events(t, 2)[1].MessageID, "MESSAGE2"), b.events(t, 2)[0].MessageID, "019b7ca9-8f2e-8e29-a9d5-3e9a16ccc7a1"))
}

// analytics-go tries ten times by itself; closed at once, it must not. A new
// version of it that waits for retries in Close would fail here.
func TestSend_OneRequestPerAttempt(t *testing.T) {
	t.Parallel()
	for _, code := range []int{400, 401, 500, 503} {
		b := setup(t, func(c *Config) { c.RetryFor = 0 })
		b.fake.SetFaults(status(code))
		err := b.sender.Send(t.Context(), nil, &Batch{Events: b.events(t, 1)})
		if code != 400 {
			require.Error(t, err)
		}
		require.EqualValues(t, 1, b.fake.Stats().Requests, code)
	}
}

func TestSend_RetriesPassingTrouble(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fakesegment.Fault{
		"408": {Kind: fakesegment.Status, Status: 408}, "410": {Kind: fakesegment.Status, Status: 410}, "429": {Kind: fakesegment.Status, Status: 429},
		"460": {Kind: fakesegment.Status, Status: 460}, "500": {Kind: fakesegment.Status, Status: 500}, "503": {Kind: fakesegment.Status, Status: 503},
		"529": {Kind: fakesegment.Status, Status: 529}, "reset before": {Kind: fakesegment.ResetBefore}, "reset after": {Kind: fakesegment.ResetAfter},
		"cut": {Kind: fakesegment.Cut},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			f.Next = 2
			b.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{f}})
			d, err := deliver(t.Context(), b.sender, nil, b.events(t, 10))
			require.NoError(t, err)
			require.Equal(t, 2, d.Retries)
			require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, acceptedOf(d))
			require.EqualValues(t, 10, b.fake.Stats().Accepted, "the messageIds are the same on each attempt")
		})
	}
}

func TestSend_StopsWhereNothingGetsThrough(t *testing.T) {
	t.Parallel()
	for code, hint := range map[int]string{401: "write_key", 403: "write_key", 302: "segment.endpoint", 404: "segment.endpoint", 501: "segment.endpoint", 505: "segment.endpoint", 511: "proxies"} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			faults := status(code)
			if code == 302 {
				faults.Faults[0].Kind = fakesegment.Redirect
			}
			b.fake.SetFaults(faults)
			d, err := deliver(t.Context(), b.sender, nil, b.events(t, 3))
			require.Equal(t, fault.Precondition, fault.KindOf(err), "%v", err)
			require.Contains(t, fault.HintOf(err), hint)
			require.NotContains(t, err.Error(), "write-key")
			require.Empty(t, d.Accepted)
			require.Empty(t, d.Refused)
			require.EqualValues(t, 1, b.fake.Stats().Requests)
		})
	}
}

func TestSend_HalvesUntilTheCulpritIsAlone(t *testing.T) {
	t.Parallel()
	for _, code := range []int{400, 413} {
		b := setup(t, nil)
		b.fake.SetFaults(fakesegment.Faults{Poison: []fakesegment.Poison{{UserID: "u3", Status: code}, {UserID: "u40", Status: code}}})
		d, err := deliver(t.Context(), b.sender, nil, b.events(t, 100))
		require.NoError(t, err)
		require.Len(t, d.Refused, 2)
		require.Equal(t, []int{3, 40}, []int{d.Refused[0].Index, d.Refused[1].Index})
		require.Contains(t, d.Refused[0].Detail, strconv.Itoa(code))
		require.Len(t, acceptedOf(d), 98)
		require.NotContains(t, acceptedOf(d), 3)
		require.EqualValues(t, 98, b.fake.Stats().Accepted)
	}
}

func TestSend_RefusingEverythingIsNotAboutTheEvents(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.fake.SetFaults(status(400))
	d, err := deliver(t.Context(), b.sender, nil, b.events(t, 300))
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "write_key")
	require.Empty(t, d.Refused, "nothing is rejected")
}

func TestSend_GivesUpAfterRetryFor(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *Config) { c.RetryFor = 30 * time.Millisecond })
	b.fake.SetFaults(status(500))
	_, err := deliver(t.Context(), b.sender, nil, b.events(t, 1))
	require.Equal(t, fault.Retryable, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "Nothing is lost")
	require.Greater(t, b.fake.Stats().Requests, int64(1))
}

func TestSend_WrongTLSIsNotRetried(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	server.Config.ErrorLog = fakesegment.New(fakesegment.Options{}).HTTP().ErrorLog
	t.Cleanup(server.Close)
	b := setup(t, func(c *Config) { c.Endpoint = server.URL })
	_, err := deliver(t.Context(), b.sender, nil, b.events(t, 1))
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "certificate")

	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	b = setup(t, func(c *Config) { c.Endpoint = "https" + strings.TrimPrefix(plain.URL, "http") })
	_, err = deliver(t.Context(), b.sender, nil, b.events(t, 1))
	require.Equal(t, fault.Precondition, fault.KindOf(err), "%v", err)
}

func TestSend_WhereNobodyListensIsRetried(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"http://127.0.0.1:1", "http://nowhere.invalid"} {
		b := setup(t, func(c *Config) { c.Endpoint, c.RetryFor = endpoint, 10*time.Millisecond })
		_, err := deliver(t.Context(), b.sender, nil, b.events(t, 1))
		require.Equal(t, fault.Retryable, fault.KindOf(err), "%v", err)
		require.Zero(t, b.gateway.Stats().Connections)
	}
}

// What can't be encoded never could be: it is neither tried again nor taken for
// accepted.
func TestSend_WhatCannotBeEncodedIsNoPassingTrouble(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.use(NewEncoder(map[string]any{"Mixpanel": math.NaN()}))
	d, err := deliver(t.Context(), b.sender, nil, b.events(t, 3))
	require.Equal(t, fault.Failed, fault.KindOf(err))
	require.ErrorContains(t, err, "NaN")
	require.Empty(t, d.Accepted)
	require.Zero(t, b.fake.Stats().Requests)

	// Nor is what the rules should not have let through.
	b.use(NewEncoder(nil))
	events := b.events(t, 3)
	events[1].Row.EventName = strings.Repeat("x", event.MaxBytes)
	d, err = deliver(t.Context(), b.sender, nil, events)
	require.Equal(t, fault.Failed, fault.KindOf(err))
	require.ErrorIs(t, err, analytics.ErrMessageTooBig)
	require.Empty(t, d.Accepted)
	require.Empty(t, d.Refused)
}

// JSON is what analytics-go puts on the wire, to the byte, and the greatest event that the
// rules allow goes through.
func TestSend_JSONIsThatOnTheWire(t *testing.T) {
	t.Parallel()
	var batch []json.RawMessage
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Batch []json.RawMessage }
		_ = json.NewDecoder(r.Body).Decode(&body)
		batch = body.Batch
		_, _ = io.WriteString(w, success)
	}))
	t.Cleanup(server.Close)
	b := setup(t, func(c *Config) { c.Endpoint = server.URL })
	rapid.Check(t, func(rt *rapid.T) {
		row := event.Interaction{
			ID: "1", Kind: rapid.SampledFrom([]string{"view", "interaction"}).Draw(rt, "kind"), TutorialID: "-12",
			UserID: "u" + rapid.String().Draw(rt, "user"), AnonymousID: rapid.String().Draw(rt, "anonymous"), SegmentID: rapid.String().Draw(rt, "segment"),
			PortalID: "007", VersionID: "<\u2028\x01>", EventName: "&" + rapid.String().Draw(rt, "name"),
			OccurredAt: time.UnixMicro(rapid.Int64Range(0, 253402300799999999).Draw(rt, "at")),
		}
		made, reject := b.rules.Convert(&row)
		require.Nil(rt, reject)
		greatest := row
		text, err := b.encoder.JSON(&made)
		require.NoError(rt, err)
		greatest.UserID += strings.Repeat("x", event.MaxBytes-len(text))
		full, reject := b.rules.Convert(&greatest)
		require.Nil(rt, reject)
		require.Equal(rt, event.MaxBytes, full.Size)
		tooLarge := greatest
		tooLarge.UserID += "x"
		_, reject = b.rules.Convert(&tooLarge)
		require.Equal(rt, &event.Reject{Reason: event.TooLarge, Detail: "the event has 32001 bytes, at most 32000 can be sent"}, reject)
		events := []event.Event{made, full}
		_, err = deliver(t.Context(), b.sender, nil, events)
		require.NoError(rt, err)
		require.Len(rt, batch, len(events))
		for i := range events {
			text, err := b.encoder.JSON(&events[i])
			require.NoError(rt, err)
			require.Equal(rt, string(text), string(batch[i]))
		}
	})
}

func TestSend_KeepsConnections(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for range 20 {
		_, err := deliver(t.Context(), b.sender, nil, b.events(t, 3))
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, b.gateway.Stats().Connections)
}

// As many requests are under way as there are connections, and these are kept. Go's transport gives up
// one that it does not know the end of within 50 ms, and opens another in its place.
func TestSend_OpensAtMostConcurrencyConnections(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int64
	fake := fakesegment.New(fakesegment.Options{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := now.Add(1)
		for seen := most.Load(); at > seen && !most.CompareAndSwap(seen, at); seen = most.Load() {
		}
		fake.ServeHTTP(w, r)
		now.Add(-1)
	}))
	t.Cleanup(server.Close)
	b := setup(t, func(c *Config) { c.Endpoint = server.URL })
	events := b.events(t, 3)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				_, err := deliver(context.Background(), b.sender, nil, events)
				require.NoError(t, err)
			}
		})
	}
	group.Wait()
	require.LessOrEqual(t, most.Load(), int64(4))
	require.LessOrEqual(t, b.gateway.Stats().Connections, int64(80))
	require.EqualValues(t, 160, b.gateway.Stats().Requests[200])
}

func TestCut(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	events := b.events(t, 2500)
	require.Equal(t, 1000, b.sender.Cut(events))
	require.Equal(t, 7, b.sender.Cut(events[:7]))
	for i := range events {
		events[i].Size = 31_000
	}
	n := b.sender.Cut(events)
	require.Equal(t, 15, n)
	require.LessOrEqual(t, n*31_001+envelope, maxBatchBytes)
}

// In any second, wherever it begins, at most the limit; over a minute, 99 % of it.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 7, 100, 999, 1000, 25_000} {
		synctest.Test(t, func(t *testing.T) {
			pace, size := newPace(limit, 1000)
			var arrivals []time.Time
			began := time.Now()
			for time.Since(began) < time.Minute {
				require.NoError(t, pace.wait(t.Context(), nil))
				arrivals = append(arrivals, time.Now())
			}
			first := 0
			for i, at := range arrivals {
				for at.Sub(arrivals[first]) >= time.Second {
					first++
				}
				require.LessOrEqual(t, (i-first+1)*size, limit)
			}
			if limit >= slotsPerSecond && limit%slotsPerSecond == 0 {
				require.GreaterOrEqual(t, float64(len(arrivals)*size), 0.99*60*float64(limit))
			}
		})
	}
}

// A timer that fires late must not let the requests behind it crowd the next second.
func TestRateLimit_ALateRequestHoldsThoseBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pace, _ := newPace(1000, 1000)
		require.NoError(t, pace.wait(t.Context(), nil))
		late := time.Now().Add(90 * time.Millisecond)
		pace.left[0] = late
		for range slotsPerSecond {
			require.NoError(t, pace.wait(t.Context(), nil))
		}
		require.Equal(t, late.Add(time.Second), time.Now())
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{"": 0, "2": 2 * time.Second, "0.5": 500 * time.Millisecond, "9999": 300 * time.Second, "-1": 0, "x": 0,
		now.Add(7 * time.Second).Format(http.TimeFormat): 7 * time.Second} {
		require.Equal(t, want, retryAfter(http.Header{"Retry-After": {value}}, now), value)
		ours := now.Add(-3 * time.Hour)
		require.Equal(t, want, retryAfter(http.Header{"Retry-After": {value}, "Date": {now.Format(http.TimeFormat)}}, ours), value)
	}
}

// Each event arrives with its own properties, whatever else is under way.
func TestSend_PropertiesAreNotMixedUp(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *Config) { c.BatchSize = 2500 })
	const senders, size = 4, 1500
	var want [senders * size]string
	rows := make([]event.Interaction, len(want))
	events := make([]event.Event, len(want))
	for i := range rows {
		rows[i] = event.Interaction{
			ID: strconv.Itoa(i), Kind: []string{"view", "interaction", "view"}[i%3], UserID: "u", TutorialID: strconv.Itoa(i),
			EventName: fmt.Sprintf("clicked %d", i), OccurredAt: time.Unix(1.7e9, 0),
		}
		// What one event has and the next one has not.
		if i%2 == 0 {
			rows[i].SegmentID = fmt.Sprintf("segment %d", i)
		}
		if i%5 == 0 {
			rows[i].PortalID, rows[i].VersionID = strconv.Itoa(-i), fmt.Sprintf("version %d", i)
		}
		made, reject := b.rules.Convert(&rows[i])
		require.Nil(t, reject)
		events[i] = made
		text, err := b.encoder.JSON(&made)
		require.NoError(t, err)
		want[i] = string(text)
	}
	var group sync.WaitGroup
	var errs [senders]error
	for i := range errs {
		group.Go(func() {
			delivery, err := deliver(t.Context(), b.sender, nil, events[i*size:(i+1)*size])
			if errs[i] = err; err == nil && len(acceptedOf(delivery)) != size {
				errs[i] = fmt.Errorf("accepted %d", len(acceptedOf(delivery)))
			}
		})
	}
	group.Wait()
	require.NoError(t, errors.Join(errs[:]...))
	var got []string
	for _, e := range b.fake.Events() {
		got = append(got, string(e.Raw()))
	}
	slices.Sort(want[:])
	slices.Sort(got)
	require.Equal(t, want[:], got)
}

func BenchmarkSend(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, success) }))
	defer server.Close()
	g := NewGateway(Config{Endpoint: server.URL, Concurrency: 1, BatchSize: 1000})
	defer g.Close()
	encoder := NewEncoder(nil)
	row := event.Interaction{ID: "1", Kind: "view", UserID: "u", TutorialID: "1", OccurredAt: time.Unix(1.7e9, 0)}
	made, _ := rulesFor(encoder).Convert(&row)
	events := slices.Repeat([]event.Event{made}, 1000)
	sender := g.Sender("k", encoder)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := deliver(context.Background(), sender, nil, events); err != nil {
			b.Fatal(err)
		}
	}
}
