package loader_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

func (w *world) verify(t *testing.T, opts loader.VerifyOptions) loader.VerifyReport {
	t.Helper()
	report, err := w.loader(t).Verify(t.Context(), w.cfg.Sources[0], opts)
	require.NoError(t, err)
	return report
}

func TestVerify_ProvesAndFinds(t *testing.T) {
	t.Parallel()
	for _, idType := range []string{"bigint", "uuid", "text"} {
		t.Run(idType, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{})
			w.sample(t, loadertest.Export{Rows: 2_000, IDType: idType, Start: *day(1), End: *day(21)})
			w.exec(t, "update candu_interactions set tutorial_id = null where id in (select id from candu_interactions order by id limit 7)")
			w.exec(t, "update candu_interactions set occurred_at = null where id in (select id from candu_interactions order by id desc limit 2)")
			w.run(t)
			report := w.verify(t, loader.VerifyOptions{})
			require.True(t, report.Proved, "%+v", report)
			require.Empty(t, report.Days)
			require.EqualValues(t, 2_000, report.Rows)
			require.EqualValues(t, 1_991, report.Mirrored)
			require.EqualValues(t, 9, report.Rejected)

			t.Log("three rows vanish from the mirror")
			lost := w.list(t, `select loader_interaction_id from candu_test.screens where "timestamp" >= '2026-01-05' order by id limit 3`)
			for _, id := range lost {
				w.exec(t, "delete from candu_test.screens where loader_interaction_id = $1", id)
			}
			report = w.verify(t, loader.VerifyOptions{})
			require.False(t, report.Proved)
			require.ElementsMatch(t, lost, report.Missing.IDs)
			require.EqualValues(t, 3, report.Missing.Rows)
			require.True(t, w.verify(t, loader.VerifyOptions{To: day(5)}).Proved, "the days before are proved")
			w.backfill(t, loader.BackfillOptions{From: day(1), Repair: true})
			require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
		})
	}
}

func TestVerify_RetentionIsAllowedAndNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	january(t, w, 500)
	w.run(t)
	w.exec(t, "delete from candu_interactions where occurred_at < '2026-01-04'")
	report := w.verify(t, loader.VerifyOptions{})
	require.True(t, report.Proved)
	require.Equal(t, w.one(t, "select 500 - count(*) from candu_interactions"), w.one(t, "select $1::bigint", report.Unexpected.Rows))
}

func TestVerify_ChangedRowsAreDifferent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	january(t, w, 500)
	w.run(t)
	w.exec(t, "update candu_interactions set kind = 'interaction', event_name = 'x' where id = (select min(id) from candu_interactions where kind = 'view')")
	w.exec(t, "update candu_interactions set occurred_at = occurred_at + interval '3 days' where id = 100")
	report := w.verify(t, loader.VerifyOptions{})
	require.False(t, report.Proved)
	require.EqualValues(t, 2, report.Different.Rows, "%+v", report)
	require.Contains(t, report.Different.IDs, "100")
	require.Zero(t, report.Missing.Rows)
	require.Zero(t, report.Unexpected.Rows)
}

func TestVerify_PendingIsNotMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	january(t, w, 100)
	w.run(t)
	w.insert(t, 1_000, time.Now())
	report := w.verify(t, loader.VerifyOptions{})
	require.True(t, report.Proved)
	require.EqualValues(t, 1, report.Pending)
	w.run(t)
	report = w.verify(t, loader.VerifyOptions{})
	require.True(t, report.Proved, "mirrored beyond the watermark: %+v", report)
	require.Zero(t, report.Unexpected.Rows)
	w.exec(t, "alter table candu_interactions alter exported_at drop not null")
	w.exec(t, "update candu_interactions set exported_at = null where id = 1000")
	require.False(t, w.verify(t, loader.VerifyOptions{}).Proved, "a row without exported_at is never read")
}

func TestVerify_TwoDatabases(t *testing.T) {
	t.Parallel()
	export := loadertest.Database(t)
	w := newWorld(t, settings{source: "interactions: {url: \"" + export + "\", kinds: {view: [view], interaction: [interaction]}}"})
	db := loadertest.Pool(t, export)
	e := loadertest.Export{Rows: 300}
	require.NoError(t, e.Create(t.Context(), db))
	require.NoError(t, e.Fill(t.Context(), db))
	w.run(t)
	require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
}
