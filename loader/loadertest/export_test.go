//go:build unix

package loadertest_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

func sample(t *testing.T, db *pgxpool.Pool, e loadertest.Export) {
	t.Helper()
	require.NoError(t, e.Create(t.Context(), db))
	require.NoError(t, e.Fill(t.Context(), db))
}

func one[T any](t *testing.T, db *pgxpool.Pool, sql string) T {
	t.Helper()
	var value T
	require.NoError(t, db.QueryRow(context.Background(), sql).Scan(&value), sql)
	return value
}

func TestExport_AllRowsAreValid(t *testing.T) {
	t.Parallel()
	for _, idType := range []string{"bigint", "integer", "uuid", "text"} {
		t.Run(idType, func(t *testing.T) {
			t.Parallel()
			db := loadertest.Pool(t, loadertest.Database(t))
			sample(t, db, loadertest.Export{Rows: 5_230, IDType: idType})
			require.Equal(t, 5_230, one[int](t, db, `
				select count(*) from candu_interactions
				where coalesce(user_id, anonymous_id) <> '' and tutorial_id is not null and length(version_id) = 40
					and (kind = 'view' and event_name is null or kind = 'interaction' and event_name <> '')
					and exported_at >= occurred_at and occurred_at > now() - interval '32 days' and exported_at < now()`))
			require.InDelta(t, 2.0/3, one[float64](t, db, "select avg((kind = 'view')::integer) from candu_interactions"), 0.05)
			require.Equal(t, 1_744, one[int](t, db, "select count(distinct exported_at) from candu_interactions"))
			require.Positive(t, one[int](t, db, "select count(*) from candu_interactions where user_id is null"))
			require.Positive(t, one[int](t, db, "select count(*) from candu_interactions where segment_id = 'Everyone'"))
			require.Positive(t, one[int](t, db, "select count(*) from candu_interactions where portal_id is null"))
			require.Equal(t, 9, one[int](t, db, "select count(distinct event_name) from candu_interactions"))
		})
	}
}

func TestExport_SameValuesMakeTheSameRows(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	digest := func(e loadertest.Export) string {
		db := loadertest.Pool(t, loadertest.Database(t))
		e.Rows, e.End = 1_000, end
		sample(t, db, e)
		return one[string](t, db, "select md5(string_agg(candu_interactions::text, ',' order by id)) from candu_interactions")
	}
	plain := digest(loadertest.Export{})
	require.Equal(t, plain, digest(loadertest.Export{}))
	require.NotEqual(t, plain, digest(loadertest.Export{Seed: 7}))
}

func TestExport_Grows(t *testing.T) {
	t.Parallel()
	db := loadertest.Pool(t, loadertest.Database(t))
	end := time.Now().Add(-2 * time.Hour)
	e := loadertest.Export{Rows: 700, End: end, Users: 3, Tutorials: 2, Segments: 1, ViewShare: 0.9}
	sample(t, db, e)
	e.First, e.Rows, e.Start, e.End = 701, 300, end, end.Add(time.Hour)
	require.NoError(t, e.Fill(t.Context(), db))
	require.Equal(t, 1_000, one[int](t, db, "select max(id) from candu_interactions"))
	require.True(t, one[bool](t, db, `
		select (select min(exported_at) from candu_interactions where id > 700) > (select max(exported_at) from candu_interactions where id <= 700)`))
	require.Equal(t, 3, one[int](t, db, "select count(distinct user_id) from candu_interactions"))
	require.Equal(t, 2, one[int](t, db, "select count(distinct tutorial_id) from candu_interactions"))
	require.Equal(t, 1, one[int](t, db, "select count(distinct segment_id) from candu_interactions"))
}

func TestExport_Wide(t *testing.T) {
	t.Parallel()
	db := loadertest.Pool(t, loadertest.Database(t))
	sample(t, db, loadertest.Export{Rows: 20, Wide: 30_000})
	require.GreaterOrEqual(t, one[int](t, db, "select min(length(candu_interactions::text)) from candu_interactions"), 30_000)
	require.Less(t, one[int](t, db, "select max(length(candu_interactions::text)) from candu_interactions"), 31_000)
}

func TestExport_Bad(t *testing.T) {
	t.Parallel()
	db := loadertest.Pool(t, loadertest.Database(t))
	share := map[string]float64{"missing_identity": 0.1, "unknown_kind": 0.1, "missing_tutorial_id": 0.1, "invalid_tutorial_id": 0.1,
		"invalid_portal_id": 0.1, "missing_event_name": 0.1, "invalid_timestamp": 0.1, "event_too_large": 0.1}
	sample(t, db, loadertest.Export{Rows: 2_000, Bad: share})
	for reason, where := range map[string]string{
		"missing_identity":    "user_id is null and anonymous_id is null",
		"unknown_kind":        "kind not in ('view', 'interaction')",
		"missing_tutorial_id": "tutorial_id is null",
		"invalid_tutorial_id": "tutorial_id !~ '^[0-9]+$'",
		"invalid_portal_id":   "portal_id !~ '^[0-9]+$'",
		"missing_event_name":  "kind = 'interaction' and coalesce(trim(event_name), '') = ''",
		"invalid_timestamp":   "occurred_at is null or occurred_at < '1970-01-01'",
		"event_too_large":     "kind = 'interaction' and length(event_name) > 32000",
	} {
		require.InDelta(t, 0.1, one[float64](t, db, "select avg((("+where+") is true)::integer) from candu_interactions"), 0.03, reason)
	}
	err := loadertest.Export{Rows: 1, Bad: map[string]float64{"nonsense": 1}}.Fill(t.Context(), db)
	require.EqualError(t, err, `filling the sample export: no rows for reason "nonsense"`)
}
