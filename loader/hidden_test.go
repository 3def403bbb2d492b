package loader_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/preflight"
	"github.com/candu-loader/candu-loader/loader/secret"
	"github.com/candu-loader/candu-loader/loader/status"
)

// hides demands that check, a run and what it stores promise nothing about late rows of the export that
// is configured, and say why. There must be a row.
func (w *world) hides(t *testing.T, why string) {
	t.Helper()
	w.cfg.Sources[0].Lookback = 7 * time.Minute
	found := w.check(t)
	require.NotContains(t, found, "safe_point_visible")
	require.Equal(t, preflight.LevelWarning, found["safe_point_hidden"].Level)
	require.Contains(t, found["safe_point_hidden"].Text, why)
	require.Contains(t, found["safe_point_hidden"].Text, ": rows that commit late are found only if they commit within lookback (7m)")
	summary := w.run(t)
	require.NotNil(t, summary.CompleteUntil)
	require.Equal(t, "true", w.one(t, "select complete_until = watermark_at - interval '7 minutes' and caught_up_at > now() - interval '1 minute' from candu_test.loader_state"),
		w.one(t, "select (complete_until, watermark_at, caught_up_at, now()) from candu_test.loader_state"))
	require.Contains(t, w.one(t, "select held_back_by from candu_test.loader_state"), why)
	w.cfg.Sources[0].Lookback = 0
	require.Equal(t, preflight.LevelError, w.check(t)["safe_point_hidden"].Level)
	w.cfg.Sources[0].Lookback = 7 * time.Minute
}

// promises demands the opposite.
func (w *world) promises(t *testing.T) {
	t.Helper()
	require.Contains(t, w.check(t), "safe_point_visible")
	require.Equal(t, "NULL", w.one(t, "select held_back_by from candu_test.loader_state"))
}

const oldRow = `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at)
	select n, 'view', 'u', 1, x, x from (select %d as n, now() - interval '%s' as x) as r`

// Rows of another server appear when they like: this one's transactions say nothing of them.
func TestRun_LateRowsOfAForeignTable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	file := w.one(t, "current_setting('data_directory') || '/' || current_database() || '.csv'")
	far := func() { w.exec(t, "copy rows_there to '"+file+"' (format csv)") }
	w.exec(t, "alter table candu_interactions rename to rows_there; create extension file_fdw; create server far foreign data wrapper file_fdw")
	w.exec(t, "create foreign table candu_interactions (id bigint, kind text, user_id text, anonymous_id text, tutorial_id integer, segment_id text, portal_id integer,"+
		" version_id text, event_name text, occurred_at timestamptz, exported_at timestamptz) server far options (filename '"+file+"', format 'csv')")
	w.exec(t, "create view export as select * from candu_interactions")
	w.cfg.Sources[0].Interactions.Table.Name = "export"
	w.exec(t, strings.ReplaceAll(fmt.Sprintf(oldRow, 2, "15 minutes"), "candu_interactions", "rows_there"))
	far()
	w.hides(t, "public.candu_interactions is a foreign table")
	require.Equal(t, "1", w.one(t, "select count(*) from candu_test.screens"))
	w.exec(t, strings.ReplaceAll(fmt.Sprintf(oldRow, 1, "20 minutes"), "candu_interactions", "rows_there"))
	far()
	require.EqualValues(t, 1, w.run(t).Sent, "within lookback")
}

// A replica does not see the transactions of its primary.
func TestRun_LateRowsOfAReplica(t *testing.T) {
	t.Parallel()
	server, err := loadertest.Start(t.Context(), loadertest.Options{TCP: true})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	url := loadertest.DatabaseOn(t, server)
	w := newWorld(t, settings{url: url})
	w.plain(t)
	w.exec(t, fmt.Sprintf(oldRow, 1, "20 minutes"))
	standby, err := server.Standby(t.Context(), server.Address())
	require.NoError(t, err)
	t.Cleanup(standby.Stop)
	w.cfg.Sources[0].Interactions.URL = secret.URL(standby.URL(w.one(t, "current_database()"), "postgres"))
	w.hides(t, "the export is read from a replica")
}

// A refresh brings rows that were stamped long before, all at once.
func TestRun_LateRowsOfAMaterializedView(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	w.exec(t, fmt.Sprintf(oldRow, 1, "20 minutes"))
	w.exec(t, "create materialized view kept as select * from candu_interactions; create view export as select * from kept")
	w.run(t)
	w.promises(t)
	w.cfg.Sources[0].Interactions.Table.Name = "export"
	w.exec(t, "drop schema candu_test cascade")
	w.made = false
	w.hides(t, "public.kept is a materialized view")
}

// What a subscription brings was stamped by another server, before it came here.
func TestRun_LateRowsOfASubscription(t *testing.T) {
	t.Parallel()
	server, err := loadertest.Start(t.Context(), loadertest.Options{Settings: []string{"wal_level=logical"}})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	w := newWorld(t, settings{url: loadertest.DatabaseOn(t, server)})
	w.plain(t)
	w.exec(t, fmt.Sprintf(oldRow, 1, "20 minutes"))
	require.Contains(t, w.check(t), "safe_point_visible")
	publisher := loadertest.Pool(t, loadertest.DatabaseOn(t, server))
	require.NoError(t, loadertest.Export{}.Create(t.Context(), publisher))
	for _, sql := range []string{"create publication candu for all tables", "select pg_create_logical_replication_slot('candu', 'pgoutput')", fmt.Sprintf(oldRow, 2, "15 minutes")} {
		_, err := publisher.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	from := publisher.Config().ConnConfig
	w.exec(t, fmt.Sprintf("create subscription candu connection 'host=%s port=%d dbname=%s user=postgres' publication candu with (create_slot = false, slot_name = 'candu')", from.Host, from.Port, from.Database))
	defer w.exec(t, "alter subscription candu disable; alter subscription candu set (slot_name = none); drop subscription candu")
	loadertest.Eventually(t, func() bool { return w.one(t, "select count(*) from candu_interactions") == "2" }, "the subscription to bring a row")
	w.hides(t, "public.candu_interactions gets its rows by a logical subscription")
	require.Equal(t, "2", w.one(t, "select count(*) from candu_test.screens"))
}

// While one session hides its transaction nothing is promised, in the whole run and for what it has passed.
func TestRun_LateRowsOfASessionThatIsNotTracked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	w.exec(t, fmt.Sprintf(oldRow, 1, "20 minutes"))
	writer, err := pgx.Connect(t.Context(), w.url)
	require.NoError(t, err)
	defer func() { _ = writer.Close(t.Context()) }()
	for _, sql := range []string{"set track_activities to off", "begin", fmt.Sprintf(oldRow, 2, "21 minutes")} {
		_, err := writer.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	w.hides(t, fmt.Sprintf("a session of role %q (pid %d) hides its transactions", "postgres", writer.PgConn().PID()))
	_, err = writer.Exec(t.Context(), "commit; set track_activities to on")
	require.NoError(t, err)
	require.EqualValues(t, 1, w.run(t).Sent)
	w.promises(t)
}

// Who holds the watermark back is named everywhere, with the statement that ends it.
func TestRun_NamesTheSessionThatHoldsTheWatermark(t *testing.T) {
	t.Parallel()
	a := newAged(t)
	a.row(t, a.export, 1, "now() - interval '2 hours'")
	oldest := a.begin(t, "set application_name to 'the exporter'; begin; select", false)
	a.run(t)
	who := fmt.Sprintf("pid %d, role %q, application %q, since ", oldest.pid, "postgres", "the exporter")
	end := fmt.Sprintf("SELECT pg_terminate_backend(%d);", oldest.pid)
	for _, text := range []string{"open for long", fmt.Sprintf("pid=%d role=postgres application=\"the exporter\" since=", oldest.pid), end} {
		require.Contains(t, a.log.String(), text)
	}
	held := a.one(t, "select held_back_by from candu_test.loader_state")
	require.Contains(t, held, who)
	require.Contains(t, held, end)
	state := a.loader(t).Status(t.Context(), a.cfg.Sources[0], status.Memory{})
	require.Equal(t, held, state.HeldBackBy)
	found := a.check(t)["safe_point_held"]
	require.Equal(t, preflight.LevelWarning, found.Level)
	require.Contains(t, found.Text, who)
	require.Equal(t, end, found.Hint)

	_, err := a.export.Exec(t.Context(), found.Hint)
	require.NoError(t, err)
	loadertest.Eventually(t, func() bool { return !strings.Contains(fmt.Sprint(a.check(t)), end) }, "the session to be gone")
	a.run(t)
	require.Equal(t, "NULL", a.one(t, "select held_back_by from candu_test.loader_state"))
}
