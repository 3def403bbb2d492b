package serve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/serve"
	"github.com/candu-loader/candu-loader/loader/status"
	"github.com/candu-loader/candu-loader/loader/statuspage"
)

func TestMain(m *testing.M) { os.Exit(loadertest.Main(m)) }

// bundle is a config in a file, and what it names.
type bundle struct {
	url  string
	db   *pgxpool.Pool
	fake *fakesegment.Server
	path string
	log  loadertest.Log

	base   string // of the server's URLs
	reload chan struct{}
}

const usual = `
warehouse: {url: "DB"}
segment: {endpoint: "SEGMENT", max_events_per_second: 0, retry_for: 1s}
http: {listen: "127.0.0.1:0"}
sources:
- nickname: Candu_Test
  write_key: key
  schedule: "@every 1s"
`

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{url: loadertest.Database(t), path: filepath.Join(t.TempDir(), "config.yaml"), reload: make(chan struct{})}
	b.db = loadertest.Pool(t, b.url)
	b.fake, _ = loadertest.Segment(t, fakesegment.Options{})
	export := loadertest.Export{Rows: 300, Start: time.Now().AddDate(0, 0, -9), End: time.Now().Add(-time.Hour), Bad: map[string]float64{"missing_identity": 0.05}}
	require.NoError(t, export.Create(t.Context(), b.db))
	require.NoError(t, export.Fill(t.Context(), b.db))
	b.write(t, usual)
	b.migrate(t)
	return b
}

func (b *bundle) write(t *testing.T, text string) {
	t.Helper()
	text = strings.NewReplacer("DB", b.url, "SEGMENT", b.fake.URL()).Replace(text)
	require.NoError(t, os.WriteFile(b.path, []byte(text), 0o600))
}

// migrate makes the schemas of the config.
func (b *bundle) migrate(t *testing.T) {
	t.Helper()
	cfg, err := b.load()
	require.NoError(t, err)
	l := loader.New(cfg, slog.New(slog.DiscardHandler))
	defer l.Close()
	for _, src := range cfg.Sources {
		_, err := l.Migrate(t.Context(), src, ledger.MigrateOptions{Create: true})
		require.NoError(t, err)
	}
}

func (b *bundle) load() (*config.Config, error) {
	return config.Load(b.path, func(string) (string, bool) { return "", false })
}

// start serves until the test ends or stop is called, which returns the error.
func (b *bundle) start(t *testing.T) (stop func() error) {
	t.Helper()
	cfg, err := b.load()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	listening := make(chan net.Addr, 8)
	done := make(chan error, 1)
	go func() {
		done <- serve.Run(ctx, serve.Options{
			Config: cfg, Load: b.load, Reload: b.reload, Log: slog.New(slog.NewTextHandler(&b.log, nil)),
			Listening: func(a net.Addr) { listening <- a },
		})
	}()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	select {
	case address := <-listening:
		b.base = "http://" + address.String()
	case err := <-done:
		require.NoError(t, err)
	}
	return stop
}

func (b *bundle) get(t *testing.T, path string, with ...func(*http.Request)) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.base+path, nil)
	require.NoError(t, err)
	for _, f := range with {
		f(req)
	}
	answer, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, answer.Header, string(text)
}

func (b *bundle) view(t *testing.T) statuspage.View {
	t.Helper()
	code, _, text := b.get(t, "/api/status")
	require.Equal(t, http.StatusOK, code)
	var view statuspage.View
	require.NoError(t, json.Unmarshal([]byte(text), &view))
	return view
}

func (b *bundle) exec(t *testing.T, sql string) {
	t.Helper()
	_, err := b.db.Exec(t.Context(), sql)
	require.NoError(t, err, sql)
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, 40*time.Second, 100*time.Millisecond, what)
}

func events(s statuspage.Source) (n int64) {
	for _, d := range s.Days {
		n += d.Views + d.Interactions
	}
	return n
}

func TestRun_Answers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, "create table kept as table candu_interactions; truncate candu_interactions")
	stop := b.start(t)
	// The days are counted while nothing is there, and again once something is.
	eventually(t, "the days are counted", func() bool { return len(b.view(t).Sources[0].Days) == 30 })
	require.Zero(t, events(b.view(t).Sources[0]))
	b.exec(t, "insert into candu_interactions table kept")
	var s statuspage.Source
	eventually(t, "a run, and its events counted", func() bool {
		s = b.view(t).Sources[0]
		return s.LastSuccess != nil && events(s) > 0
	})
	require.Equal(t, "Candu_Test", s.Nickname)
	require.NotEmpty(t, s.Sentence)
	require.NotNil(t, s.LagSeconds)
	require.Len(t, s.Days, 30)
	require.Nil(t, s.DaysAsOf)
	require.Equal(t, 300-s.Rejects[0].Count, events(s))
	require.Equal(t, "missing_identity", s.Rejects[0].Reason)
	require.NotEmpty(t, s.Rejects[0].Examples)
	require.NotEmpty(t, s.Slots)

	code, header, text := b.get(t, "/")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, text, "Candu_Test")
	require.Contains(t, header.Get("Content-Security-Policy"), "default-src 'none'")
	require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
	require.Equal(t, "no-store", header.Get("Cache-Control"))

	code, _, text = b.get(t, "/healthz")
	require.Equal(t, http.StatusOK, code, text)
	code, _, text = b.get(t, "/readyz")
	require.Equal(t, "warehouse: ok\nexport of Candu_Test: ok\nschema of Candu_Test: ok\n", text)
	require.Equal(t, http.StatusOK, code)
	code, _, _ = b.get(t, "/nothing")
	require.Equal(t, http.StatusNotFound, code)

	_, _, text = b.get(t, "/metrics")
	for _, name := range []string{
		`build_info{goversion="`, `lag_seconds{source="Candu_Test"}`, `pending_rows{source="Candu_Test"}`,
		`watermark_timestamp_seconds{`, `complete_until_timestamp_seconds{`, `last_success_timestamp_seconds{`, `next_slot_timestamp_seconds{`,
		`failing{source="Candu_Test"} 0`, `events_total{outcome="rejected",source="Candu_Test"} ` + strconv.FormatInt(s.Rejects[0].Count, 10),
		`batches_total{status="200"} 1`, `retries_total 0`, `rejects{reason="missing_identity",source="Candu_Test"}`,
		`slots_total{source="Candu_Test",status="missed"} 0`, `run_duration_seconds_count{`, `page_duration_seconds_count{source="Candu_Test",step="record"}`,
		`rate_limit_wait_seconds_total `, `config_reloads_total{result="refused"} 0`,
	} {
		require.Contains(t, text, "\ncandu_loader_"+name)
	}
	code, header, _ = b.get(t, "/", func(r *http.Request) { r.Method = http.MethodPost })
	require.Equal(t, http.StatusMethodNotAllowed, code)
	require.Equal(t, "GET, HEAD", header.Get("Allow"))

	err := stop()
	require.Equal(t, fault.Interrupted, fault.KindOf(err))
}

func TestRun_AsksWhoYouAre(t *testing.T) {
	t.Parallel()
	b := setup(t)
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte("open sesame\n"), 0o600))
	b.write(t, strings.Replace(usual, `"127.0.0.1:0"`, `"127.0.0.1:0", user: operator, password_file: `+password, 1))
	b.start(t)
	for _, path := range []string{"/", "/api/status", "/metrics"} {
		code, header, text := b.get(t, path)
		require.Equal(t, http.StatusUnauthorized, code, path)
		require.Contains(t, header.Get("WWW-Authenticate"), "Basic")
		require.NotContains(t, text, "Candu_Test")
		code, _, _ = b.get(t, path, func(r *http.Request) { r.SetBasicAuth("operator", "wrong") })
		require.Equal(t, http.StatusUnauthorized, code, path)
		code, _, _ = b.get(t, path, func(r *http.Request) { r.SetBasicAuth("operator", "open sesame") })
		require.Equal(t, http.StatusOK, code, path)
	}
	code, _, _ := b.get(t, "/healthz")
	require.Equal(t, http.StatusOK, code)
}

func TestRun_Reloads(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start(t)
	b.write(t, strings.Replace(usual, "@every 1s", "every second", 1))
	b.reload <- struct{}{}
	eventually(t, "the refusal stands on the page", func() bool { return len(b.view(t).Trouble) == 1 })
	trouble := b.view(t).Trouble[0]
	require.Contains(t, trouble.Error, "sources[0].schedule")
	require.Len(t, b.view(t).Sources, 1)
	eventually(t, "it still runs", func() bool { return len(b.view(t).Sources[0].Slots) > 1 })

	b.write(t, usual+`
- nickname: Candu_More
  write_key: more
  schedule: "@every 1s"
`)
	b.migrate(t)
	b.reload <- struct{}{}
	eventually(t, "the new source runs", func() bool {
		v := b.view(t)
		return len(v.Trouble) == 0 && len(v.Sources) == 2 && v.Sources[1].LastSuccess != nil
	})
	old := b.base
	address := free(t)
	b.write(t, strings.Replace(usual, "127.0.0.1:0", address, 1))
	b.reload <- struct{}{}
	b.base = "http://" + address
	eventually(t, "it listens elsewhere", func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	eventually(t, "and no longer here", func() bool {
		conn, err := net.DialTimeout("tcp", strings.TrimPrefix(old, "http://"), time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	require.Len(t, b.view(t).Sources, 1)
	_, _, text := b.get(t, "/metrics")
	require.Contains(t, text, `candu_loader_config_reloads_total{result="accepted"} 2`)
}

func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func TestRun_PortInUse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	b.write(t, strings.Replace(usual, "127.0.0.1:0", taken.Addr().String(), 1))
	cfg, err := b.load()
	require.NoError(t, err)
	err = serve.Run(t.Context(), serve.Options{Config: cfg, Log: slog.New(slog.DiscardHandler)})
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.ErrorContains(t, err, "address already in use")
	require.Contains(t, fault.HintOf(err), "listen:")
}

func TestRun_NoSchedule(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, strings.Replace(usual, `schedule: "@every 1s"`, "page_size: 100", 1))
	cfg, err := b.load()
	require.NoError(t, err)
	err = serve.Run(t.Context(), serve.Options{Config: cfg, Log: slog.New(slog.DiscardHandler)})
	require.Equal(t, fault.Config, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "schedule:")
}

// A database that is away at the start, and in the middle: serve waits, says so, and
// recovers by itself.
func TestRun_DatabaseAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	server, err := loadertest.Start(t.Context(), loadertest.Options{TCP: true})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	warehouse := loadertest.DatabaseOn(t, server)
	b.write(t, strings.Replace(usual, `warehouse: {url: "DB"}`, `warehouse: {url: "`+warehouse+`"}`, 1)+`
  interactions: {url: "DB"}
`)
	b.migrate(t)
	require.NoError(t, server.Kill())
	b.start(t)
	code, _, text := b.get(t, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, text, "export of Candu_Test: ok")
	require.NotContains(t, text, "warehouse: ok")
	s := b.view(t).Sources[0]
	require.Equal(t, status.Failing, s.State)
	require.NotEmpty(t, s.Failure.Error)
	require.NoError(t, server.Restart(t.Context()))
	eventually(t, "it recovers", func() bool {
		code, _, _ := b.get(t, "/readyz")
		s := b.view(t).Sources[0]
		return code == http.StatusOK && s.LastSuccess != nil && s.Failure == nil
	})
	slots := len(b.view(t).Sources[0].Slots)
	require.NoError(t, server.Kill())
	eventually(t, "it is seen to be away", func() bool { return b.view(t).Sources[0].State == status.Failing })
	require.NoError(t, server.Restart(t.Context()))
	eventually(t, "it recovers again", func() bool {
		s := b.view(t).Sources[0]
		return s.State != status.Failing && len(s.Slots) > slots+1
	})
}

// People are told of what changes, once, and the dead man's switch of successes.
func TestRun_Alerts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	told := make(chan string, 100)
	pinged := make(chan struct{}, 1000)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ping" {
			pinged <- struct{}{}
			return
		}
		text, _ := io.ReadAll(r.Body)
		told <- string(text)
	}))
	t.Cleanup(hook.Close)
	b.exec(t, "alter table candu_interactions rename to away")
	b.write(t, usual+fmt.Sprintf(`
alerts:
  urls: ["generic+%s/hook?template=json"]
  ping_url: %[1]s/ping
`, hook.URL))
	b.start(t)
	require.Contains(t, <-told, `"kind":"failing"`)
	b.exec(t, "alter table away rename to candu_interactions")
	<-pinged
	kinds := ""
	for strings.Count(kinds, ",") < 2 {
		var notice struct{ Kind, Source, Title, Message string }
		require.NoError(t, json.Unmarshal([]byte(<-told), &notice))
		require.Equal(t, "Candu_Test", notice.Source)
		kinds += notice.Kind + ","
	}
	require.Contains(t, kinds, "recovered")
	var state string
	require.NoError(t, b.db.QueryRow(t.Context(), "select alerts::text from candu_test.loader_state").Scan(&state))
	require.Contains(t, state, "rejects")
}
