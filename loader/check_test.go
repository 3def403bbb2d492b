package loader_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/preflight"
)

func (w *world) check(t *testing.T) map[string]preflight.Finding {
	t.Helper()
	codes := map[string]preflight.Finding{}
	for _, f := range w.loader(t).Check(t.Context(), w.cfg.Sources[0], false) {
		codes[f.Code] = f
	}
	return codes
}

func TestCheck_FindsEverythingAndChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{fake: fakesegment.Options{WriteKeys: []string{"another"}}})
	w.cfg.Segment.CDN = w.cfg.Segment.Endpoint
	w.sample(t, loadertest.Export{Rows: 20_000, NoIndex: true})
	w.exec(t, "alter table candu_interactions drop constraint candu_interactions_pkey")
	w.exec(t, "alter table candu_interactions alter occurred_at type timestamp, alter exported_at drop not null")
	w.exec(t, "update candu_interactions set exported_at = null where id = 1")
	w.exec(t, "update candu_interactions set exported_at = $1 where id = 2", time.Now().Add(time.Hour))
	w.exec(t, "create schema candu_test; create table candu_test.tracks (id text)")
	codes := w.check(t)
	for code, want := range map[string]struct {
		level preflight.Level
		hint  string
	}{
		"timestamp_without_time_zone": {preflight.LevelWarning, `ALTER COLUMN "occurred_at" TYPE timestamptz USING "occurred_at" AT TIME ZONE 'UTC';`},
		"index_missing":               {preflight.LevelWarning, `CREATE INDEX CONCURRENTLY ON "public"."candu_interactions" ("exported_at", "id");`},
		"plan_sorts":                  {preflight.LevelWarning, ""},
		"exported_at_null":            {preflight.LevelError, `UPDATE "public"."candu_interactions" SET "exported_at" = now()`},
		"exported_at_future":          {preflight.LevelWarning, "now()"},
		"id_not_guaranteed":           {preflight.LevelWarning, `ADD UNIQUE ("id");`},
		"safe_point_visible":          {preflight.LevelInfo, ""},
		"schema_unusable":             {preflight.LevelError, "schema: candu_test_loader"},
		"write_key_unknown":           {preflight.LevelError, "API Keys"},
		"segment_reachable":           {preflight.LevelInfo, ""},
	} {
		require.Equal(t, want.level, codes[code].Level, code)
		require.Contains(t, codes[code].Hint, want.hint, code)
	}
	require.Equal(t, "0", w.one(t, "select count(*) from pg_tables where schemaname = 'candu_test' and tablename like 'loader%'"))
	w.exec(t, "insert into candu_interactions select * from candu_interactions where id = 3")
	require.Equal(t, preflight.LevelError, w.check(t)["id_not_unique"].Level)
}

func TestCheck_AllIsWell(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.cfg.Segment.CDN = w.cfg.Segment.Endpoint
	w.sample(t, loadertest.Export{Rows: 20_000})
	w.run(t)
	for code, f := range w.check(t) {
		require.Equal(t, preflight.LevelInfo, f.Level, "%s: %s", code, f.Text)
	}
}

// A few rows that an index finds may be sorted; a table that is scanned for each page may not.
func TestCheck_APlanThatSorts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.sample(t, loadertest.Export{Rows: 20_000})
	set := func(name string) {
		w.exec(t, "alter database "+w.one(t, "quote_ident(current_database())")+" set "+name+" to off")
		w.db.Reset()
	}
	set("enable_indexscan")
	require.NotContains(t, w.check(t), "plan_sorts")
	set("enable_bitmapscan")
	require.Contains(t, w.check(t), "plan_sorts")
}

// A status page that anybody may read is worth a word.
func TestCheck_OpenHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	codes := func() (all []string) {
		for _, f := range w.loader(t).Check(t.Context(), w.cfg.Sources[0], true) {
			all = append(all, f.Code)
		}
		return all
	}
	require.NotContains(t, codes(), "http_open")
	w.cfg.HTTP.Listen = ":8321"
	require.Contains(t, codes(), "http_open")
	w.cfg.HTTP.User = "operator"
	require.NotContains(t, codes(), "http_open")
}
