package fakesegment_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bundle is a server and a client of its own.
type bundle struct {
	server *fakesegment.Server
	client *http.Client
}

func setup(t *testing.T, options fakesegment.Options) *bundle {
	t.Helper()
	server := fakesegment.New(options)
	require.NoError(t, server.Start(t.Context(), "127.0.0.1:0"))
	transport := &http.Transport{}
	if certificate := server.Certificate(); certificate != nil {
		roots := x509.NewCertPool()
		roots.AddCert(certificate)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &bundle{server, &http.Client{Transport: transport, CheckRedirect: noRedirect}}
}

// answer is what a request got.
type answer struct {
	status     int
	body       string
	retryAfter string
	date       string
}

func (b *bundle) do(t *testing.T, method, path, body string, change func(*http.Request)) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.server.URL()+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.SetBasicAuth("key", "")
	req.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(req)
	}
	res, err := b.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, string(text), res.Header.Get("Retry-After"), res.Header.Get("Date")}, err
}

func (b *bundle) send(t *testing.T, events ...string) (answer, error) {
	t.Helper()
	return b.do(t, http.MethodPost, "/v1/batch", batch(events...), nil)
}

// ok sends events to a server without trouble.
func (b *bundle) ok(t *testing.T, events ...string) {
	t.Helper()
	got, err := b.send(t, events...)
	require.NoError(t, err)
	require.Equal(t, answer{status: 200, body: `{"success": true}`, date: got.date}, got)
}

func batch(events ...string) string {
	return `{"messageId":"batch","sentAt":"2026-01-02T03:04:05Z","batch":[` + strings.Join(events, ",") + `],"context":{"library":{"name":"x"}}}`
}

const (
	at   = `"timestamp":"2026-01-02T03:04:05.678901Z"`
	user = `"userId":"u1"`
)

func screen(id string) string {
	return `{"type":"screen","messageId":"` + id + `",` + user + `,` + at + `,"name":"tutorial.view","properties":{"tutorialId":1}}`
}

func track(id, eventName string) string {
	return `{"type":"track","messageId":"` + id + `",` + user + `,` + at + `,"event":"tutorial.interaction","properties":{"eventName":"` + eventName + `"}}`
}

func TestBatch_RefusesRequests(t *testing.T) {
	t.Parallel()
	large := `{"type":"screen","messageId":"m",` + user + `,` + at + `,"name":"` + strings.Repeat("x", 32<<10) + `"}`
	many := make([]string, 40)
	for i := range many {
		many[i] = strings.Replace(screen(strconv.Itoa(i)), "tutorial.view", strings.Repeat("x", 12_600), 1)
	}
	cases := map[string]struct {
		options fakesegment.Options
		body    string
		change  func(*http.Request)
		status  int
	}{
		"no key":           {change: func(r *http.Request) { r.Header.Del("Authorization") }, status: 400},
		"empty key":        {change: func(r *http.Request) { r.SetBasicAuth("", "") }, status: 400},
		"unknown key":      {options: fakesegment.Options{WriteKeys: []string{"another"}, RefuseKeys: true}, status: 401},
		"content type":     {change: func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, status: 400},
		"malformed":        {body: `{"batch":[` + screen("1"), status: 400},
		"no batch":         {body: `{"messageId":"m"}`, status: 400},
		"no array":         {body: `{"batch":{}}`, status: 400},
		"no object":        {body: `[1]`, status: 400},
		"nothing":          {body: ` `, status: 400},
		"empty batch":      {body: batch(), status: 400},
		"event of 32 KB":   {body: batch(large), status: 400},
		"body of 500 KB":   {body: batch(many...), status: 400},
		"too many, strict": {options: fakesegment.Options{Strict: true}, body: batch(strings.Split(strings.Repeat("1,", 2_500)+"1", ",")...), status: 400},
		"method":           {change: func(r *http.Request) { r.Method = http.MethodGet }, status: 405},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, c.options)
			if c.body == "" {
				c.body = batch(screen("1"))
			}
			got, err := b.do(t, http.MethodPost, "/v1/batch", c.body, c.change)
			require.NoError(t, err)
			require.Equal(t, c.status, got.status, got.body)
			require.Zero(t, b.server.Stats().Received)
			require.Empty(t, b.server.Accepted())
		})
	}
}

func TestBatch_TakesWhatIsWithinTheLimits(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{WriteKeys: []string{"other", "key"}})
	pad := 32<<10 - len(strings.Replace(screen("large"), "tutorial.view", "", 1))
	b.ok(t, strings.Replace(screen("large"), "tutorial.view", strings.Repeat("x", pad), 1))
	events := make([]string, 2_500)
	for i := range events {
		events[i] = screen(strconv.Itoa(i))
	}
	b.ok(t, events...)
	require.EqualValues(t, 2_501, b.server.Stats().Accepted)
}

// Segment answers 200 and drops bad events silently. So does this server, but it
// says so in its numbers.
func TestBatch_DropsInvalidEvents(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ from, to, reason string }{
		"unknown type":       {`"screen"`, `"view"`, "type_unknown"},
		"no type":            {`"type":"screen",`, ``, "type_unknown"},
		"no messageId":       {`"messageId":"id",`, ``, "message_id_invalid"},
		"empty messageId":    {`"id"`, `""`, "message_id_invalid"},
		"messageId a number": {`"id"`, `1`, "message_id_invalid"},
		"long messageId":     {`"id"`, `"` + strings.Repeat("ä", 101) + `"`, "message_id_invalid"},
		"nobody":             {user + `,`, ``, "no_user_anon_id"},
		"empty userId":       {`"u1"`, `""`, "id_not_string"},
		"userId a number":    {`"u1"`, `7`, "id_not_string"},
		"empty anonymousId":  {user, user + `,"anonymousId":""`, "id_not_string"},
		"no name":            {`"name":"tutorial.view",`, ``, "name_not_string"},
		"empty name":         {`"tutorial.view"`, `""`, "name_not_string"},
		"name an array":      {`"tutorial.view"`, `["]"]`, "name_not_string"},
		"track, no event":    {`"screen"`, `"track"`, "event_not_defined"},
		"track, event null":  {`"type":"screen"`, `"type":"track","event":null`, "event_not_string"},
		"properties null":    {`{"tutorialId":1}`, `null`, "properties_not_object"},
		"properties a text":  {`{"tutorialId":1}`, `"{}"`, "properties_not_object"},
		"no timestamp":       {at + `,`, ``, "timestamp_invalid"},
		"timestamp a number": {`"2026-01-02T03:04:05.678901Z"`, `1767323045`, "timestamp_invalid"},
		"no RFC 3339":        {`2026-01-02T03`, `2026-01-02 03`, "timestamp_invalid"},
		"before 1970":        {`2026-01-02`, `1969-12-31`, "timestamp_invalid"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, fakesegment.Options{})
			bad := strings.Replace(screen("id"), c.from, c.to, 1)
			b.ok(t, screen("before"), bad, screen("after"))
			stats := b.server.Stats()
			require.Equal(t, map[string]int64{c.reason: 1}, stats.Reasons)
			require.Equal(t, []fakesegment.Example{{Reason: c.reason, Event: bad[:min(len(bad), 500)]}}, stats.Examples)
			require.EqualValues(t, 1, stats.Invalid)
			require.Equal(t, []string{"before", "after"}, b.server.Accepted())
		})
	}
}

func TestBatch_DropsEventsThatAreNoObjects(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{})
	b.ok(t, `1`, `"type"`, `null`, `[{}]`, `{}`, `true`)
	require.Equal(t, map[string]int64{"type_unknown": 6}, b.server.Stats().Reasons)
}

func TestBatch_DropsABatchThatIsTooLong(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{})
	b.ok(t, strings.Split(strings.Repeat("1,", 2_500)+"1", ",")...)
	stats := b.server.Stats()
	require.EqualValues(t, 2_501, stats.Dropped)
	require.EqualValues(t, 2_501, stats.Received)
	require.Zero(t, stats.Accepted+stats.Invalid)
}

func TestBatch_Dedupes(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{})
	const id = "018b6e6e-3c00-8f11-8b63-56b8634bb70d"
	b.ok(t, screen(id), track("no uuid", "first"), screen(id), screen(strings.ToUpper(id)))
	b.ok(t, track("no uuid", "second"), screen(id), screen("{"+id+"}"), track(`escaped \u00e4 \" id`, "x"))
	stats := b.server.Stats()
	require.Equal(t, []string{id, "no uuid", strings.ToUpper(id), "{" + id + "}", `escaped ä " id`}, b.server.Accepted())
	require.EqualValues(t, 8, stats.Received)
	require.EqualValues(t, 5, stats.Accepted)
	require.EqualValues(t, 3, stats.Duplicates)
	require.Equal(t, map[string]int64{"screen": 3, "track": 2}, stats.ByType)
	require.Contains(t, string(b.server.Events()[1].Raw()), "first", "the first one wins")
}

func TestEvents(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{Keep: 3})
	b.ok(t, screen("1"), track("2", `Voir l'étape → {\"[`), screen("3"), screen("4"))
	require.Len(t, b.server.Accepted(), 4)
	require.EqualValues(t, 3, b.server.Stats().Kept)

	list := func(query string) (ids []string) {
		got, err := b.do(t, http.MethodGet, "/events"+query, "", nil)
		require.NoError(t, err)
		require.Equal(t, 200, got.status, got.body)
		var events []struct{ MessageID string }
		require.NoError(t, json.Unmarshal([]byte(got.body), &events))
		for _, e := range events {
			ids = append(ids, e.MessageID)
		}
		return ids
	}
	require.Equal(t, []string{"1", "2", "3"}, list(""))
	require.Equal(t, []string{"1", "3"}, list("?type=screen"))
	require.Equal(t, []string{"2"}, list("?after=1&limit=1"))
	require.Empty(t, list("?after=9"))
	got, err := b.do(t, http.MethodGet, "/events?limit=-1", "", nil)
	require.NoError(t, err)
	require.Equal(t, 400, got.status)

	got, err = b.do(t, http.MethodDelete, "/events", "", nil)
	require.NoError(t, err)
	require.Equal(t, 204, got.status)
	require.Empty(t, list(""))
	require.Zero(t, b.server.Stats().Requests)
	b.ok(t, screen("1"))
	require.EqualValues(t, 1, b.server.Stats().Accepted, "it forgot that it knew this one")
}

func TestSettings_KnowsKeys(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{WriteKeys: []string{"key"}})
	for key, status := range map[string]int{"key": 200, "another": 404} {
		got, err := b.do(t, http.MethodGet, "/v1/projects/"+key+"/settings", "", nil)
		require.NoError(t, err)
		require.Equal(t, status, got.status)
	}
	require.EqualValues(t, 2, b.server.Stats().KeysAsked)
}

// The trap that Segment's API sets: it says success to any key, and drops the events.
func TestBatch_DropsEventsOfUnknownKeys(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{WriteKeys: []string{"another"}})
	b.ok(t, screen("1"), screen("2"))
	require.Empty(t, b.server.Accepted())
	require.EqualValues(t, 2, b.server.Stats().Dropped)
}

func TestClock(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{ClockAhead: 3 * time.Hour})
	ahead := func(method, path, body string) time.Duration {
		got, err := b.do(t, method, path, body, nil)
		require.NoError(t, err)
		date, err := http.ParseTime(got.date)
		require.NoError(t, err)
		return time.Until(date)
	}
	require.InDelta(t, 3, ahead(http.MethodPost, "/v1/batch", batch(screen("1"))).Hours(), 0.1)
	require.InDelta(t, 3, ahead(http.MethodPost, "/v1/batch", "{").Hours(), 0.1)
	require.InDelta(t, 3, ahead(http.MethodGet, "/v1/projects/k/settings", "").Hours(), 0.1)
	require.InDelta(t, 3, ahead(http.MethodHead, "/", "").Hours(), 0.1)
	b.server.SetClock(-time.Hour)
	require.InDelta(t, -1, ahead(http.MethodPost, "/v1/batch", batch(screen("1"))).Hours(), 0.1)
	b.server.SetClock(0)
	require.InDelta(t, 0, ahead(http.MethodPost, "/v1/batch", batch(screen("1"))).Hours(), 0.1)
}

func TestStats(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{})
	b.ok(t, screen("1"), screen("2"))
	b.ok(t, screen("2"))
	_, err := b.do(t, http.MethodPost, "/v1/batch", "{", nil)
	require.NoError(t, err)
	got, err := b.do(t, http.MethodGet, "/stats", "", nil)
	require.NoError(t, err)
	var over fakesegment.Stats
	require.NoError(t, json.Unmarshal([]byte(got.body), &over))
	same, err := json.Marshal(b.server.Stats())
	require.NoError(t, err)
	require.JSONEq(t, string(same), got.body)
	require.EqualValues(t, 3, over.Requests)
	require.Equal(t, map[int]int64{200: 2, 400: 1}, over.Statuses)
	require.EqualValues(t, 1, over.Connections, "keep-alive")
	require.EqualValues(t, 3, over.MaxPerSecond)
	require.EqualValues(t, 3, over.PerSecond[0])
	require.False(t, over.LastAt.Before(over.FirstAt))
}

func TestStats_Rate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := fakesegment.New(fakesegment.Options{})
		n := 0
		post := func(count int) {
			events := make([]string, count)
			for i := range events {
				n++
				events[i] = screen(strconv.Itoa(n))
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/batch", strings.NewReader(batch(events...)))
			require.NoError(t, err)
			req.SetBasicAuth("key", "")
			req.Header.Set("Content-Type", "application/json")
			server.ServeHTTP(discard{}, req)
		}
		wait := func(d time.Duration) { <-time.After(d) }
		post(10)
		wait(900 * time.Millisecond)
		post(20)
		wait(200 * time.Millisecond) // The window slides: 30 within a second that is no calendar's.
		post(15)
		wait(1900 * time.Millisecond)
		post(5)
		stats := server.Stats()
		require.Equal(t, []int64{30, 15, 0, 5}, stats.PerSecond)
		require.EqualValues(t, 35, stats.MaxPerSecond)
	})
}

// discard is a response that nobody reads.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

func TestCountOnly(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{CountOnly: true})
	events := make([]string, 1_000)
	for i := range events {
		events[i] = track(strconv.Itoa(i), strings.Repeat(`\"messageId\"`, i%20))
	}
	got, err := b.send(t, events...)
	require.NoError(t, err)
	require.Equal(t, 200, got.status)
	stats := b.server.Stats()
	require.EqualValues(t, 1_000, stats.Accepted)
	require.EqualValues(t, 1, stats.Requests)
	require.Empty(t, b.server.Accepted())
}

func TestStart(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{TLS: true})
	require.True(t, strings.HasPrefix(b.server.URL(), "https://127.0.0.1:"))
	b.ok(t, screen("1"))
	require.ErrorContains(t, b.server.Start(t.Context(), "127.0.0.1:0"), "it runs already")

	stranger := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL()+"/stats", http.NoBody)
	require.NoError(t, err)
	_, err = stranger.Do(req) //nolint:bodyclose // There is no answer.
	require.ErrorContains(t, err, "certificate")

	second := fakesegment.New(fakesegment.Options{})
	err = second.Start(t.Context(), strings.TrimPrefix(b.server.URL(), "https://"))
	require.ErrorContains(t, err, "listening on")
	second.Close() // Closing what never ran does nothing.
}

func TestShutdown_AnswersWhatItHas(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{})
	b.server.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Delay, DelayMillis: 200}}})
	status := make(chan int)
	go func() {
		got, _ := b.do(t, http.MethodPost, "/v1/batch", batch(screen("1")), nil)
		status <- got.status
	}()
	loadertest.Eventually(t, func() bool { return b.server.Stats().Requests == 1 }, "the request")
	b.server.Shutdown(context.Background())
	require.Equal(t, 200, loadertest.Receive(t, status, "the answer"))
}

func BenchmarkBatch(b *testing.B) {
	for name, options := range map[string]fakesegment.Options{"full": {Keep: 1}, "count": {CountOnly: true}} {
		b.Run(name, func(b *testing.B) {
			server := fakesegment.New(options)
			events := make([]string, 1_000)
			for i := range events {
				events[i] = track(fmt.Sprintf("018b6e6e-3c00-8f11-8b63-%012d", i), "Upgrade plan Link Clicked")
			}
			body := []byte(batch(events...))
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/batch", bytes.NewReader(body))
				require.NoError(b, err)
				req.SetBasicAuth("key", "")
				req.Header.Set("Content-Type", "application/json")
				server.ServeHTTP(discard{}, req)
			}
		})
	}
}
