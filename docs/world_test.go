//go:build unix

package docs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// plan is what a world is made of.
type plan struct {
	// ownServer leaves the roles to the document.
	ownServer bool
	// export are the rows that are there before the first command.
	export loadertest.Export
	// config is the configuration, "" if the document brings it.
	config string
	// prepare are commands and SQL (after "sql:") before the document's first command.
	prepare []string
	// fake is how Segment is.
	fake fakesegment.Options
}

const (
	oneSource = `warehouse:
  url: ${DATABASE_URL}
segment:
  max_events_per_second: 0
sources:
  - nickname: Candu_Prod
    write_key: ${CANDU_PROD_WRITE_KEY}
`
	november = "2025-11-01"
)

// day is midnight of a date.
func day(text string) time.Time {
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return at
}

// lately is a week of rows up to this midnight, with the same numbers on each day.
func lately(rows int) loadertest.Export {
	today := time.Now().UTC().Truncate(24 * time.Hour)
	return loadertest.Export{Rows: rows, Start: today.AddDate(0, 0, -4), End: today, Ties: 50}
}

// plans are the worlds that a document may name.
var plans = map[string]plan{
	// An empty database, for a configuration with faults.
	"typo": {},
	// Only the programs: for commands that bring their own world.
	"programs": {},
	// An empty database; the document makes all of it.
	"first-run": {ownServer: true, export: with(lately(1000), "export.CanduInteractions")},
	// A source that was loaded; its mirror lacks the views of one day.
	"a-day-missing": {
		export: loadertest.Export{Rows: 1000, Start: day(november), End: day("2025-11-17"), Ties: 20},
		config: oneSource,
		prepare: []string{
			"candu-loader run --first",
			"sql: delete from candu_prod.screens where timestamp >= '2025-11-07' and timestamp < '2025-11-08'",
		},
	},
	// A year of history of which the runs loaded the end.
	"late-start": {
		export:  loadertest.Export{Rows: 4000, Start: day("2024-11-17"), End: day("2025-11-17"), Ties: 20},
		config:  oneSource + "    start_at: 2025-11-01\n",
		prepare: []string{"sql: create index on public.candu_interactions (occurred_at, id)", "candu-loader run --first"},
	},
	// A source with rows that can't be sent.
	"rejects": {
		export: loadertest.Export{Rows: 2000, Start: day(november), End: day("2025-11-17"), Ties: 20, Bad: map[string]float64{
			"missing_identity": 0.002, "unknown_kind": 0.001, "invalid_tutorial_id": 0.001, "missing_event_name": 0.001,
		}},
		config:  oneSource,
		prepare: []string{"candu-loader run --first"},
	},
	// A source whose config misspells its kinds.
	"wrong-kinds": {
		export:  loadertest.Export{Rows: 2000, Start: day(november), End: day("2025-11-17"), Ties: 20},
		config:  oneSource + "    interactions: {kinds: {view: [View], interaction: [Interaction]}}\n",
		prepare: []string{"candu-loader migrate"},
	},
	// A source that was loaded.
	"loaded": {export: fewUsers(lately(2000)), config: oneSource, prepare: []string{"candu-loader run --first"}},
	// A source whose schema says that it was on another server.
	"moved": {export: lately(500), config: oneSource, prepare: []string{
		"candu-loader run --first", "sql: update candu_prod.loader_state set place_system = '7340501882157391999'",
	}},
	// A source that read another table before.
	"another-export": {export: lately(500), config: oneSource + "    interactions: {table: public.other}\n", prepare: []string{
		"sql: create table public.other (like public.candu_interactions including all); insert into public.other table public.candu_interactions",
		"candu-loader run --first",
		"sql: delete from public.other where id > 100",
		`sql: update candu_prod.loader_state set export_relation = '"public"."candu_interactions"'`,
	}},
	// A source without a schema.
	"never-loaded": {export: lately(500), config: oneSource},
	// A source whose write key Segment does not know.
	"unknown-key": {
		export: lately(500), config: oneSource, prepare: []string{"candu-loader migrate"}, fake: fakesegment.Options{WriteKeys: []string{"another"}},
	},
	// A machine whose clock is three hours behind.
	"wrong-clock": {
		export: lately(500), config: oneSource, prepare: []string{"candu-loader migrate"}, fake: fakesegment.Options{ClockAhead: 3*time.Hour + 10*time.Second},
	},
	// A schema that somebody is about to change.
	"drifted": {export: lately(500), config: oneSource, prepare: []string{"candu-loader run --first"}},
	// A source that was never loaded; the document brings the configuration, but for the schema.
	"serve": {export: lately(500), config: strings.ReplaceAll(strings.ReplaceAll(oneSource, "Prod", "Dev"), "PROD", "DEV"), prepare: []string{"candu-loader migrate"}},
}

func fewUsers(export loadertest.Export) loadertest.Export {
	export.Users = 100
	return export
}

func with(export loadertest.Export, table string) loadertest.Export {
	export.Table = table
	return export
}

// world is a database, a fake Segment and a folder for one document.
type world struct {
	plan plan
	dir  string
	db   *pgxpool.Pool
	env  []string
	// shown are pairs of what is here and what the document shows instead.
	shown    [][2]string
	fake     string
	filled   bool
	services []*exec.Cmd
}

// enter makes a world, which ends with the test.
func enter(t *testing.T, name string) *world {
	t.Helper()
	p, ok := plans[name]
	require.True(t, ok, "no world %q", name)
	w := &world{plan: p, dir: t.TempDir()}
	address := loadertest.Database
	if p.ownServer {
		address = ownServer
	}
	admin := address(t)
	w.db = loadertest.Pool(t, admin)
	loaderURL, err := url.Parse(admin)
	require.NoError(t, err)
	if p.ownServer {
		// With trust on loopback the password is not asked for.
		loaderURL.User = url.User("candu_loader")
	} else {
		w.shown = append(w.shown, [2]string{strings.TrimPrefix(loaderURL.Path, "/"), "warehouse"})
	}
	_, w.fake = loadertest.Segment(t, w.plan.fake)
	listen := freeAddress(t)
	w.shown = append(w.shown, [2]string{w.fake, "https://api.segment.io"}, [2]string{w.cdn(), "https://cdn.segment.com"}, [2]string{listen, "127.0.0.1:8321"})
	w.env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "DATABASE_URL="+loaderURL.String(),
		"CANDU_PROD_WRITE_KEY=prod-key", "CANDU_DEV_WRITE_KEY=dev-key", "CANDU_LOADER_CONFIG=config.yaml", "NO_COLOR=1", "TZ=UTC")
	if p.config != "" {
		w.configure(t, p.config)
	}
	t.Cleanup(w.leave)
	if !p.ownServer {
		w.fillOnce(t)
	}
	return w
}

// ownServer returns the URL of a database named warehouse on a server of its own.
func ownServer(tb testing.TB) string {
	tb.Helper()
	server, err := loadertest.Start(tb.Context(), loadertest.Options{TCP: true})
	require.NoError(tb, err)
	tb.Cleanup(server.Stop)
	_, err = loadertest.Pool(tb, server.URL("postgres", "postgres")).Exec(tb.Context(), "create database warehouse")
	require.NoError(tb, err)
	return server.URL("warehouse", "postgres")
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// configure writes config.yaml, with this world's Segment and address in it.
func (w *world) configure(t *testing.T, text string) {
	t.Helper()
	here := `  endpoint: "` + w.fake + `"` + "\n" + `  cdn_endpoint: "` + w.cdn() + `"` + "\n"
	if before, after, ok := strings.Cut(text, "segment:\n"); ok {
		text = before + "segment:\n" + here + after
	} else {
		text += "segment:\n" + here
	}
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "config.yaml"), []byte(w.real(text)), 0o600))
}

// cdn is the fake Segment under another name.
func (w *world) cdn() string { return strings.Replace(w.fake, "127.0.0.1", "localhost", 1) }

// real puts in what is here for what the document shows.
func (w *world) real(text string) string {
	return strings.ReplaceAll(text, "127.0.0.1:8321", w.shown[len(w.shown)-1][0])
}

// asShown is the reverse, for output.
func (w *world) asShown(text string) string {
	for _, pair := range w.shown {
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}

// query runs statements as the database's owner. The last one of a SELECT must find something.
func (w *world) query(t *testing.T, sql string) {
	t.Helper()
	conn, err := w.db.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	results, err := conn.Conn().PgConn().Exec(t.Context(), sql).ReadAll()
	require.NoError(t, err, sql)
	last := results[len(results)-1]
	if last.CommandTag.Select() {
		require.NotEmpty(t, last.Rows, "%s\nfinds nothing", sql)
	}
}

// fillOnce makes what the plan wants, before the first command at the latest: a document that makes the
// table itself does so before.
func (w *world) fillOnce(t *testing.T) {
	t.Helper()
	if w.filled {
		return
	}
	w.filled = true
	if w.plan.export.Rows > 0 {
		if !w.plan.ownServer {
			require.NoError(t, w.plan.export.Create(t.Context(), w.db))
		}
		require.NoError(t, w.plan.export.Fill(t.Context(), w.db))
	}
	for _, step := range w.plan.prepare {
		if sql, ok := strings.CutPrefix(step, "sql: "); ok {
			w.query(t, sql)
			continue
		}
		out, code := w.run(t, step, 0, 0)
		require.Zero(t, code, out)
	}
}

// run runs a command and returns its output, as the document would show it, and its exit code. code
// is that of the command before. A command that ends with & goes on in the background; its output is
// the first lines of it.
func (w *world) run(t *testing.T, command string, lines, code int) (string, int) {
	t.Helper()
	switch {
	case command == "echo $?":
		return strconv.Itoa(code) + "\n", 0
	case strings.HasPrefix(command, "curl "):
		return w.fetch(t, strings.TrimPrefix(command, "curl ")), 0
	case command == "make demo":
		return w.shell(t, root, "demo "+filepath.Join(programs, "candu-loader"))
	case strings.HasSuffix(command, " &"):
		return w.serve(t, strings.TrimSuffix(command, " &"), max(1, lines)), 0
	}
	return w.shell(t, w.dir, w.real(command))
}

func (w *world) shell(t *testing.T, dir, command string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), loadertest.Patience)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, w.env, &out, &out
	loadertest.Guard(cmd)
	err := cmd.Run()
	require.NoError(t, ctx.Err(), "waiting for %q:\n%s", command, &out)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return w.asShown(out.String()), exit.ExitCode()
	}
	require.NoError(t, err)
	return w.asShown(out.String()), 0
}

func (w *world) fetch(t *testing.T, address string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.real(address), http.NoBody)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return w.asShown(string(body))
}

// serve starts a service and waits for so many lines of its log.
func (w *world) serve(t *testing.T, command string, lines int) string {
	t.Helper()
	var log loadertest.Log
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "exec "+w.real(command))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = loadertest.Patience
	loadertest.Guard(cmd)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.dir, w.env, &log, &log
	require.NoError(t, cmd.Start())
	w.services = append(w.services, cmd)
	first := func() string {
		all := strings.SplitAfter(log.String(), "\n")
		return strings.Join(all[:min(lines, len(all))], "")
	}
	loadertest.Eventually(t, func() bool { return strings.Count(log.String(), "\n") >= lines }, "%d lines of %q", lines, command)
	return w.asShown(first())
}

// leave waits for what ran in the background; the end of the test's context ended it.
func (w *world) leave() {
	for _, cmd := range w.services {
		_ = cmd.Wait() // It ends with 143.
	}
}
