package loader_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// world is everything that a run needs: an export, a warehouse, a fake Segment.
type world struct {
	url  string // of the export and the warehouse
	db   *pgxpool.Pool
	fake *fakesegment.Server
	cfg  *config.Config
	log  loadertest.Log
	made bool // the schema, which from then on has to be there
}

// settings are what a test changes in the config.
type settings struct {
	url       string // default: a fresh database
	warehouse string // default: url
	// source and segment are more lines of the config.
	source, segment string
	fake            fakesegment.Options
}

func newWorld(t *testing.T, s settings) *world {
	t.Helper()
	if s.url == "" {
		s.url = loadertest.Database(t)
	}
	if s.warehouse == "" {
		s.warehouse = s.url
	}
	w := &world{url: s.url, db: loadertest.Pool(t, s.url)}
	var endpoint string
	w.fake, endpoint = loadertest.Segment(t, s.fake)
	if !strings.Contains("\n"+s.segment, "\nendpoint:") {
		s.segment += "\nendpoint: " + endpoint
	}
	if !strings.Contains(s.segment, "max_events_per_second:") {
		s.segment += "\nmax_events_per_second: 0"
	}
	if !strings.Contains(s.source, "interactions:") {
		s.source += "\ninteractions: {url: \"" + s.url + "\"}"
	}
	text := fmt.Sprintf("warehouse: {url: %q}\nsegment:\n%s\nsources:\n- nickname: Candu_Test\n  write_key: key\n%s\n",
		s.warehouse, indent(s.segment), indent(s.source))
	cfg, err := config.Parse("test.yaml", []byte(text), func(string) (string, bool) { return "", false })
	require.NoError(t, err, text)
	w.cfg = cfg
	return w
}

func indent(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, "  "+strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(lines, "\n")
}

// loader returns a loader of its own, as each process has.
func (w *world) loader(t *testing.T) *loader.Loader {
	t.Helper()
	l := loader.New(w.cfg, slog.New(slog.NewTextHandler(io.MultiWriter(&w.log, testWriter{t}), nil)))
	t.Cleanup(l.Close)
	return l
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Helper()
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func (w *world) run(t *testing.T) loader.Summary {
	t.Helper()
	summary, err := w.try(t, loader.RunOptions{})
	require.NoError(t, err)
	require.EqualValues(t, "succeeded", summary.Status)
	return summary
}

func (w *world) try(t *testing.T, opts loader.RunOptions) (loader.Summary, error) {
	t.Helper()
	opts.First = !w.made
	summary, err := w.loader(t).Run(t.Context(), w.cfg.Sources[0], opts)
	w.made = w.made || summary.RunID > 0
	return summary, err
}

func (w *world) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	_, err := w.db.Exec(context.Background(), sql, args...)
	require.NoError(t, err, sql)
}

func (w *world) one(t *testing.T, sql string, args ...any) string {
	t.Helper()
	var value *string
	require.NoError(t, w.db.QueryRow(context.Background(), "select ("+sql+")::text", args...).Scan(&value), sql)
	if value == nil {
		return "NULL"
	}
	return *value
}

func (w *world) list(t *testing.T, sql string) []string {
	t.Helper()
	rows, err := w.db.Query(context.Background(), sql)
	require.NoError(t, err, sql)
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s string
		require.NoError(t, rows.Scan(&s))
		list = append(list, s)
	}
	require.NoError(t, rows.Err())
	return list
}

// mirrored lists the messageIds of the mirror.
const mirrored = `select id from candu_test.screens union all select id from candu_test.tracks order by 1`

// settled checks what must hold after every story: every row of the export
// is in exactly one of mirror and rejects, Segment saw each event of the mirror and no
// other, nothing says running, and another run sends nothing.
func (w *world) settled(t *testing.T, table, id string) {
	t.Helper()
	before := w.fake.Stats()
	again := w.run(t)
	require.Zero(t, again.Sent, "a run after the last one sends nothing")
	require.Equal(t, before.Received, w.fake.Stats().Received)

	require.Empty(t, w.list(t, fmt.Sprintf(`
		select e.id || ' is in ' || coalesce(m.n, 0) || ' places'
		from (select %s::text as id from %s) e
		left join (
			select id, count(*) as n from (
				select loader_interaction_id as id from candu_test.screens
				union all select loader_interaction_id from candu_test.tracks
				union all select interaction_id from candu_test.loader_rejects) p
			group by id) m on m.id = e.id
		where coalesce(m.n, 0) <> 1`, id, table)), "every row is in exactly one place")
	require.Equal(t, w.list(t, `select id from candu_test.tracks order by 1`), w.list(t, `select id from candu_test.tutorial_interaction order by 1`))
	accepted := w.fake.Accepted()
	slices.Sort(accepted)
	require.Equal(t, accepted, w.list(t, mirrored), "the mirror holds what Segment accepted")
	require.Zero(t, before.Invalid, "Segment dropped nothing: %v", before.Reasons)
	require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_runs where status = 'running'"))
}

func (w *world) sample(t *testing.T, e loadertest.Export) {
	t.Helper()
	require.NoError(t, e.Create(t.Context(), w.db))
	require.NoError(t, e.Fill(t.Context(), w.db))
}

// plain makes the usual export, empty, and rows are added by insert.
func (w *world) plain(t *testing.T) {
	t.Helper()
	w.sample(t, loadertest.Export{})
}

func (w *world) insert(t *testing.T, id int, exported time.Time) {
	t.Helper()
	w.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) values ($1, 'view', 'u', 1, $2, $2)`, id, exported)
}
