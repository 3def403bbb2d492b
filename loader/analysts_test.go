package loader_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// as runs fn in a transaction of that role which sees the mirror by plain names.
func (w *world) as(t *testing.T, role string, fn func(tx pgx.Tx)) {
	t.Helper()
	ctx := context.Background()
	tx, err := w.db.Begin(ctx)
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(ctx)) }()
	_, err = tx.Exec(ctx, "set local search_path to candu_test; set local role "+pgx.Identifier{role}.Sanitize())
	require.NoError(t, err)
	fn(tx)
}

// texts returns the rows of a query with every value as Postgres prints it.
func texts(t *testing.T, tx pgx.Tx, sql string) []map[string]string {
	t.Helper()
	rows, err := tx.Query(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err, sql)
	defer rows.Close()
	var all []map[string]string
	for rows.Next() {
		row := map[string]string{}
		for i, raw := range rows.RawValues() {
			row[rows.FieldDescriptions()[i].Name] = "NULL"
			if raw != nil {
				row[rows.FieldDescriptions()[i].Name] = string(raw)
			}
		}
		all = append(all, row)
	}
	require.NoError(t, rows.Err(), sql)
	return all
}

func TestViews_TutorialDaily(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	role := loadertest.Role(t, loadertest.Shared(t), "analyst")
	w.cfg.Warehouse.Readers = []string{role}
	w.plain(t)
	w.exec(t, `insert into candu_interactions (id, kind, user_id, anonymous_id, tutorial_id, event_name, occurred_at, exported_at) values
		(1, 'view', 'u1', 'a1', 7, null, '2026-01-02T23:59:59.999Z', '2026-01-04Z'),
		(2, 'view', 'u1', null, 7, null, '2026-01-02T00:00:00Z', '2026-01-04Z'),
		(3, 'view', null, 'a2', 7, null, '2026-01-02T12:00:00Z', '2026-01-04Z'),
		(4, 'interaction', 'u1', null, 7, 'Clicked', '2026-01-02T12:00:00Z', '2026-01-04Z'),
		(5, 'interaction', 'u1', null, 7, 'Clicked', '2026-01-03T00:00:00+02', '2026-01-04Z'),
		(6, 'interaction', 'u1', null, 7, 'Clicked', '2026-01-03T00:00:00Z', '2026-01-04Z'),
		(7, 'view', 'u1', null, 8, null, '2026-01-03T00:00:00Z', '2026-01-04Z')`)
	w.run(t)
	w.as(t, role, func(tx pgx.Tx) {
		require.Equal(t, []map[string]string{
			{"line": "2026-01-02 7: 3 views by 2, 2 interactions by 1, 0.667"},
			{"line": "2026-01-03 7: 0 views by 0, 1 interactions by 1, NULL"},
			{"line": "2026-01-03 8: 1 views by 1, 0 interactions by 0, 0.000"},
		}, texts(t, tx, `select format('%s %s: %s views by %s, %s interactions by %s, %s', day, tutorial_id, views, viewers, interactions,
			interacting_users, coalesce(round(interaction_rate, 3)::text, 'NULL')) as line from tutorial_daily order by day, tutorial_id`))
	})
}

// A reader has no right on the loader's own tables, and sees how fresh the mirror is all
// the same.
func TestViews_LoaderFreshness(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	role := loadertest.Role(t, loadertest.Shared(t), "analyst")
	w.cfg.Warehouse.Readers = []string{role}
	w.plain(t)
	_, err := w.loader(t).Migrate(t.Context(), w.cfg.Sources[0], ledger.MigrateOptions{Create: true})
	require.NoError(t, err)
	const freshness = `select complete_until is null as never, watermark_at is null and last_success_at is null as nothing,
		lag between interval '0' and interval '1 hour' and lag = now() - caught_up_at as fresh, last_success_at > now() - interval '1 hour' as succeeded from loader_freshness`
	w.as(t, role, func(tx pgx.Tx) {
		require.Equal(t, []map[string]string{{"never": "t", "nothing": "t", "fresh": "NULL", "succeeded": "NULL"}}, texts(t, tx, freshness))
	})
	w.sampleRows(t, 10)
	w.run(t)
	w.as(t, role, func(tx pgx.Tx) {
		require.Equal(t, []map[string]string{{"never": "f", "nothing": "f", "fresh": "t", "succeeded": "t"}}, texts(t, tx, freshness))
		_, err := tx.Exec(t.Context(), "savepoint s; select * from loader_state")
		require.ErrorContains(t, err, "permission denied")
	})
}

// A schema that an older candu-loader made gets the views, and its readers the right to
// see them, with the next run.
func TestViews_OfAnOlderSchema(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	role := loadertest.Role(t, loadertest.Shared(t), "analyst")
	w.cfg.Warehouse.Readers = []string{role}
	w.sample(t, loadertest.Export{Rows: 100})
	require.EqualValues(t, 100, w.run(t).Sent)
	var down strings.Builder
	files, err := filepath.Glob("../migrations/*.down.sql")
	require.NoError(t, err)
	for _, file := range slices.Backward(files[1:]) { // But for the first one.
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		down.Write(text)
	}
	w.exec(t, "set search_path to candu_test;"+down.String()+"update loader_schema_migrations set version = 1; reset search_path")
	require.Zero(t, w.run(t).Sent)
	w.as(t, role, func(tx pgx.Tx) {
		require.Equal(t, []map[string]string{{"n": "100"}}, texts(t, tx, "select sum(views + interactions) as n from tutorial_daily"))
	})
}

// Every query for analysts runs as a reader on a mirror that a run has filled, and its
// numbers agree with each other.
func TestExamples(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	role := loadertest.Role(t, loadertest.Shared(t), "analyst")
	w.cfg.Warehouse.Readers = []string{role}
	w.sample(t, loadertest.Export{Rows: 20_000, Users: 300, Tutorials: 10})
	_, err := w.try(t, loader.RunOptions{})
	require.NoError(t, err)

	number := func(row map[string]string, column string) float64 {
		n, err := strconv.ParseFloat(row[column], 64)
		require.NoError(t, err, "%s of %v", column, row)
		return n
	}
	plausible := map[string]func(t *testing.T, rows []map[string]string){
		"1_funnel": func(t *testing.T, rows []map[string]string) {
			t.Helper()
			require.Len(t, rows, 10)
			for _, row := range rows {
				require.LessOrEqual(t, number(row, "clicking_viewers"), number(row, "viewers"))
				require.InDelta(t, 50, number(row, "percent"), 50)
			}
			require.NotEqual(t, "NULL", rows[0]["median_time_to_click"])
		},
		"2_audiences": func(t *testing.T, rows []map[string]string) {
			t.Helper()
			require.Len(t, rows, 10*4)
			views, interactions := 0.0, 0.0
			for _, row := range rows {
				views, interactions = views+number(row, "views"), interactions+number(row, "interactions")
			}
			require.InDelta(t, 20_000, views+interactions, 0.1)
			require.InDelta(t, 1, number(rows[0], "versus_all"), 0.5)
		},
		"3_versions": func(t *testing.T, rows []map[string]string) {
			t.Helper()
			require.Len(t, rows, 10)
			for _, row := range rows {
				require.NotEqual(t, row["version_before"], row["version_after"])
				require.Positive(t, number(row, "views_before")*number(row, "views_after"))
			}
		},
		"4_retention": func(t *testing.T, rows []map[string]string) {
			t.Helper()
			require.GreaterOrEqual(t, len(rows), 4)
			require.Equal(t, "100.0", rows[0]["percent"])
			require.Equal(t, "1", rows[1]["week_number"])
			require.InDelta(t, 50, number(rows[1], "percent"), 50)
		},
		"5_top_elements": func(t *testing.T, rows []map[string]string) {
			t.Helper()
			require.Len(t, rows, 50)
			require.GreaterOrEqual(t, number(rows[0], "clicks"), number(rows[1], "clicks"))
			require.NotEqual(t, "NULL", rows[0]["event_name"])
		},
	}
	files, err := filepath.Glob("../queries/examples/*.sql")
	require.NoError(t, err)
	require.Len(t, files, len(plausible))
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(text), "-- Choose the schema first: set search_path to "), "it says how to choose the schema")
			w.as(t, role, func(tx pgx.Tx) {
				plausible[strings.TrimSuffix(filepath.Base(file), ".sql")](t, texts(t, tx, string(text)))
			})
		})
	}
}

// sampleRows fills the usual export.
func (w *world) sampleRows(t *testing.T, rows int) {
	t.Helper()
	require.NoError(t, loadertest.Export{Rows: rows}.Fill(t.Context(), w.db))
}
