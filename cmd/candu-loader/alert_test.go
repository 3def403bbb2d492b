package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
)

// alertsTo returns offline with services that answer code at a server's /bad, and 200 elsewhere.
func alertsTo(t *testing.T, code int, alerts string) (b *testBundle, asked *atomic.Int64, text *atomic.Value) {
	t.Helper()
	asked, text = &atomic.Int64{}, &atomic.Value{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			text.Store(string(body))
		}
		if strings.HasPrefix(r.URL.Path, "/bad") {
			w.WriteHeader(code)
		}
	}))
	t.Cleanup(server.Close)
	b = &testBundle{}
	b.write(t, offline+strings.ReplaceAll(alerts, "SERVER", server.Listener.Addr().String()))
	return b, asked, text
}

func TestAlertTest(t *testing.T) {
	t.Parallel()
	b, asked, text := alertsTo(t, http.StatusNotFound, `
alerts:
  urls: ["generic+http://SERVER/good/secret-key", "logger://"]
  ping_url: http://SERVER/ping/secret-key
`)
	code, out, log := b.call(t, "alert", "test")
	require.Equal(t, 0, code, log)
	require.Equal(t, "1 generic: sent\n2 logger: sent\nping: answered\n", out)
	require.Equal(t, int64(2), asked.Load())
	require.Contains(t, text.Load(), "Test of candu-loader "+loader.Version+" on ")
	require.Contains(t, text.Load(), "This is a test, nothing is wrong")
}

func TestAlertTest_SomeFail(t *testing.T) {
	t.Parallel()
	b, _, _ := alertsTo(t, http.StatusNotFound, `
alerts:
  urls: ["generic+http://SERVER/good", "generic+http://SERVER/bad/secret-key"]
  ping_url: http://SERVER/bad/ping
`)
	code, out, log := b.call(t, "alert", "test")
	require.Equal(t, 1, code)
	require.Contains(t, out, "1 generic: sent\n2 generic: ")
	require.Contains(t, out, "404 Not Found\nping: the answer was 404 Not Found\n")
	require.Contains(t, log, "testing alerts: 2 of 3 failed\nhint: ")

	code, out, _ = b.call(t, "alert", "test", "--json")
	require.Equal(t, 1, code)
	var result alertTest
	require.NoError(t, json.Unmarshal([]byte(out), &result))
	require.Len(t, result.Services, 2)
	require.Equal(t, alertService{Number: 1, Service: "generic", Sent: true}, result.Services[0])
	require.Contains(t, result.Services[1].Error.Text, "404")
	require.False(t, result.Ping.Answered)
}

func TestAlertTest_Config(t *testing.T) {
	t.Parallel()
	b, _, _ := alertsTo(t, 0, "")
	code, out, log := b.call(t, "alert", "test")
	require.Equal(t, 2, code)
	require.Empty(t, out)
	require.Contains(t, log, "has neither alerts.urls nor alerts.ping_url\nhint: ")
	require.Contains(t, log, "\nalerts:\n  urls:\n")

	b, asked, _ := alertsTo(t, 0, `
alerts: {urls: ["slack://hook:secret-key@webhook", "generic+http://SERVER/good"]}
`)
	code, _, log = b.call(t, "alert", "test")
	require.Equal(t, 2, code)
	require.Contains(t, log, "reading URL 1 of alerts.urls (slack)")
	require.Zero(t, asked.Load(), "with a URL that will not do, none is tried")
}
