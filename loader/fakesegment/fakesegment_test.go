package fakesegment_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
)

type testBundle struct {
	fake *fakesegment.Server
	url  string
}

func setup(t *testing.T, options fakesegment.Options) *testBundle {
	t.Helper()
	fake := fakesegment.New(options)
	server := httptest.NewUnstartedServer(fake)
	server.Config = fake.HTTP()
	server.Start()
	t.Cleanup(server.Close)
	return &testBundle{fake, server.URL}
}

func (b *testBundle) post(t *testing.T, key, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/v1/batch", strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.SetBasicAuth(key, "")
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return 0
	}
	return res.StatusCode
}

func event(id string, more ...string) string {
	return `{"type":"screen","messageId":"` + id + `","userId":"u","name":"tutorial.view","timestamp":"2026-01-02T03:04:05Z"` + strings.Join(more, "") + `}`
}

func batch(events ...string) string { return `{"batch":[` + strings.Join(events, ",") + `]}` }

func TestBatch_AcceptsAndDedupes(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{})
	require.Equal(t, 200, b.post(t, "k", batch(event("a"), event("b"))))
	require.Equal(t, 200, b.post(t, "k", batch(event("b"), event("c"))))
	stats := b.fake.Stats()
	require.EqualValues(t, 3, stats.Accepted)
	require.EqualValues(t, 1, stats.Duplicates)
	require.Equal(t, []string{"a", "b", "c"}, b.fake.Accepted())
	require.EqualValues(t, 4, stats.MaxPerSecond)
}

func TestBatch_Refuses(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{WriteKeys: []string{"k"}})
	large := event("a", `,"properties":{"x":"`+strings.Repeat("x", 33_000)+`"}`)
	var many []string
	for i := range 20 {
		many = append(many, event(fmt.Sprint(i), `,"properties":{"x":"`+strings.Repeat("x", 30_000)+`"}`))
	}
	for name, c := range map[string]struct {
		key, body string
		status    int
	}{
		"no key": {"", batch(event("a")), 401}, "unknown key": {"other", batch(event("a")), 401}, "no JSON": {"k", "{", 400}, "empty": {"k", batch(), 400},
		"large event": {"k", batch(large), 400}, "large batch": {"k", batch(many...), 400},
	} {
		require.Equal(t, c.status, b.post(t, c.key, c.body), name)
	}
	require.Zero(t, b.fake.Stats().Accepted)
}

// Segment answers 200 and drops bad events silently.
func TestBatch_DropsBadEventsSilently(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{})
	for reason, e := range map[string]string{
		"type_unknown":          `{"type":"x","messageId":"a","userId":"u","timestamp":"2026-01-02T03:04:05Z"}`,
		"message_id_invalid":    `{"type":"track","userId":"u","event":"e","timestamp":"2026-01-02T03:04:05Z"}`,
		"no_user_anon_id":       `{"type":"track","messageId":"a","event":"e","timestamp":"2026-01-02T03:04:05Z"}`,
		"id_not_string":         `{"type":"track","messageId":"a","userId":7,"event":"e","timestamp":"2026-01-02T03:04:05Z"}`,
		"event_not_defined":     `{"type":"track","messageId":"a","userId":"u","timestamp":"2026-01-02T03:04:05Z"}`,
		"event_not_string":      `{"type":"track","messageId":"a","userId":"u","event":"","timestamp":"2026-01-02T03:04:05Z"}`,
		"name_not_string":       `{"type":"screen","messageId":"a","userId":"u","timestamp":"2026-01-02T03:04:05Z"}`,
		"properties_not_object": `{"type":"track","messageId":"a","userId":"u","event":"e","properties":[],"timestamp":"2026-01-02T03:04:05Z"}`,
		"timestamp_invalid":     `{"type":"track","messageId":"a","userId":"u","event":"e","timestamp":"1969-01-02T03:04:05Z"}`,
	} {
		require.Equal(t, 200, b.post(t, "k", batch(e)))
		require.EqualValues(t, 1, b.fake.Stats().Reasons[reason], reason)
	}
	var many []string
	for i := range 2501 {
		many = append(many, event(fmt.Sprint(i)))
	}
	require.Equal(t, 200, b.post(t, "k", batch(many...)))
	stats := b.fake.Stats()
	require.EqualValues(t, 1, stats.Dropped)
	require.EqualValues(t, 2500, stats.Accepted)
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for kind, c := range map[string]struct {
		status   int
		accepted int64
	}{
		fakesegment.Status: {503, 0}, fakesegment.ResetBefore: {0, 0}, fakesegment.ResetAfter: {0, 1}, fakesegment.Cut: {0, 1},
		fakesegment.Drop: {200, 0}, fakesegment.Redirect: {302, 0}, fakesegment.Delay: {200, 1},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := setup(t, fakesegment.Options{})
			body, err := json.Marshal(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: kind, Status: 503, Next: 1, DelayMillis: 1}}})
			require.NoError(t, err)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, b.url+"/faults", bytes.NewReader(body))
			require.NoError(t, err)
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, 204, res.StatusCode)
			require.Equal(t, c.status, b.post(t, "k", batch(event("a"))))
			require.Equal(t, c.accepted, b.fake.Stats().Accepted)
			require.Equal(t, 200, b.post(t, "k", batch(event("z"))), "it is over")
		})
	}
}

func TestPoison(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{})
	b.fake.SetFaults(fakesegment.Faults{Poison: []fakesegment.Poison{{MessageID: "bad"}}})
	require.Equal(t, 400, b.post(t, "k", batch(event("a"), event("bad"))))
	require.Equal(t, 200, b.post(t, "k", batch(event("a"))))
}

func TestCountOnly(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{CountOnly: true})
	var many []string
	for i := range 2000 {
		many = append(many, event(fmt.Sprint(i)))
	}
	require.Equal(t, 200, b.post(t, "", `{"messageId":"batch",`+batch(many...)[1:]))
	require.EqualValues(t, 2000, b.fake.Stats().Accepted)
}
