package loader_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/proof"
)

func (w *world) verify(t *testing.T, opts loader.VerifyOptions) proof.Report {
	t.Helper()
	return w.verifyBy(t, w.loader(t), opts)
}

// verifyBy is verify by one loader, whose connections serve for many.
func (w *world) verifyBy(t *testing.T, l *loader.Loader, opts loader.VerifyOptions) proof.Report {
	t.Helper()
	report, err := l.Verify(t.Context(), w.cfg.Sources[0], opts)
	require.NoError(t, err)
	require.Equal(t, report.Rows, report.Mirrored+report.Rejected+report.Forgotten+report.Missing.Rows+report.Changed.Rows+report.Doubled.Rows+report.SentAgain.Rows,
		"the numbers add up: %+v", report)
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
	require.Equal(t, w.one(t, "select 500 - count(*) from candu_interactions"), w.one(t, "select $1::bigint", report.Gone.Rows))
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
	require.EqualValues(t, 2, report.Changed.Rows, "%+v", report)
	require.Contains(t, report.Changed.IDs, "100")
	require.Zero(t, report.Missing.Rows)
	require.Zero(t, report.Gone.Rows)
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
	require.Zero(t, report.Gone.Rows)
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

// What is not as it should be is never called proved, and is named.
func TestVerify_NamesWhateverIsWrong(t *testing.T) {
	t.Parallel()
	for name, story := range map[string]struct {
		sql  string
		opts loader.VerifyOptions
		// what is named of row 100 (7 is a reject).
		changed, missing, doubled, sentAgain, gone []string
	}{
		"time changed within its day":      {sql: "update candu_interactions set occurred_at = occurred_at + interval '1 microsecond' where id = 100", changed: []string{"100"}},
		"time changed out of the range":    {sql: "update candu_interactions set occurred_at = occurred_at + interval '300 days' where id = 100", opts: loader.VerifyOptions{From: day(1), To: day(31)}, changed: []string{"100"}},
		"time lost":                        {sql: "update candu_interactions set occurred_at = null where id = 100", changed: []string{"100"}},
		"time lost, range":                 {sql: "update candu_interactions set occurred_at = null where id = 100", opts: loader.VerifyOptions{To: day(31)}, changed: []string{"100"}},
		"not in tutorial_interaction":      {sql: "delete from candu_test.tutorial_interaction where loader_interaction_id = '101'", missing: []string{"101"}},
		"rejected too":                     {sql: rejectToo, doubled: []string{"100"}},
		"mirrored twice on one day":        {sql: mirrorAgain("0"), doubled: []string{"100"}},
		"mirrored twice on different days": {sql: mirrorAgain("-2 days"), doubled: []string{"100"}},
		"reject gone from the export":      {sql: "delete from candu_interactions where id = 7", gone: []string{"7"}},
		"reject's time corrected":          {sql: "update candu_interactions set occurred_at = occurred_at + interval '2 days' where id = 7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{})
			january(t, w, 500)
			w.exec(t, "alter table candu_interactions alter occurred_at drop not null")
			w.exec(t, "update candu_interactions set tutorial_id = null where id = 7")
			w.exec(t, "update candu_interactions set kind = 'view' where id = 100")
			w.exec(t, "update candu_interactions set kind = 'interaction', event_name = 'x' where id = 101")
			w.run(t)
			require.True(t, w.verify(t, story.opts).Proved)
			w.exec(t, story.sql)
			report := w.verify(t, story.opts)
			require.Equal(t, story.changed == nil && story.missing == nil && story.doubled == nil && story.sentAgain == nil, report.Proved, "%+v", report)
			require.ElementsMatch(t, story.changed, report.Changed.IDs, "%+v", report)
			require.ElementsMatch(t, story.missing, report.Missing.IDs)
			require.ElementsMatch(t, story.doubled, report.Doubled.IDs)
			require.ElementsMatch(t, story.sentAgain, report.SentAgain.IDs)
			require.ElementsMatch(t, story.gone, report.Gone.IDs)
		})
	}
}

const rejectToo = `
	insert into candu_test.loader_rejects (interaction_id, reason, interaction, run_id, attempts)
	select '100', reason, interaction || (select jsonb_build_object('kind', kind, 'occurred_at', occurred_at) from candu_interactions where id = 100), run_id, attempts
	from candu_test.loader_rejects`

func mirrorAgain(later string) string {
	return `insert into candu_test.screens (id, "timestamp", loader_interaction_id)
		select 'again', "timestamp" + interval '` + later + `', loader_interaction_id from candu_test.screens where loader_interaction_id = '100'`
}
