package loader_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

func (w *world) backfill(t *testing.T, opts loader.BackfillOptions) loader.BackfillSummary {
	t.Helper()
	summary, err := w.loader(t).Backfill(t.Context(), w.cfg.Sources[0], opts)
	require.NoError(t, err)
	return summary
}

func day(n int) *time.Time {
	at := time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC)
	return &at
}

// lose forgets mirrored rows, as an accident in the warehouse would.
func (w *world) lose(t *testing.T, where string) {
	t.Helper()
	for _, table := range []string{"screens", "tracks", "tutorial_interaction"} {
		w.exec(t, "delete from candu_test."+table+" where "+where)
	}
}

func january(t *testing.T, w *world, rows int) {
	t.Helper()
	w.sample(t, loadertest.Export{Rows: rows, Start: *day(1), End: *day(31)})
}

func TestBackfill_SendsWhatTheMirrorLacks(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]settings{"near and far": {source: "lookback: 10d\npage_size: 70"}, "far alone": {source: "lookback: 0s"}} {
		for _, index := range []string{"", "create index on candu_interactions (occurred_at, id)"} {
			t.Run(name+" "+index, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, s)
				january(t, w, 3_000)
				if index != "" {
					w.exec(t, index)
				}
				w.run(t)
				mark := w.one(t, "select watermark_at from candu_test.loader_state")
				w.lose(t, `"timestamp" >= '2026-01-05' and "timestamp" < '2026-01-29'`)
				lost := w.one(t, "select count(*) from candu_interactions where occurred_at >= '2026-01-10' and occurred_at < '2026-01-28'")
				before := w.fake.Stats().Accepted
				summary := w.backfill(t, loader.BackfillOptions{From: day(10), To: day(28)})
				require.Equal(t, lost, strconv.FormatInt(summary.Sent, 10))
				require.Equal(t, before, w.fake.Stats().Accepted, "the same messageIds: Segment drops them, the mirror has them again")
				require.Equal(t, lost, w.one(t, `select count(*) from (select id from candu_test.screens where "timestamp" >= '2026-01-10' and "timestamp" < '2026-01-28'
					union all select id from candu_test.tracks where "timestamp" >= '2026-01-10' and "timestamp" < '2026-01-28') m`))
				require.Equal(t, index == "", summary.MissingIndex != "")
				require.Equal(t, mark, w.one(t, "select watermark_at from candu_test.loader_state"), "the watermark stays")
				require.Zero(t, w.backfill(t, loader.BackfillOptions{From: day(10), To: day(28)}).Sent, "again sends nothing")
				w.backfill(t, loader.BackfillOptions{From: day(1)})
				require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_runs where status = 'running'"))
				require.Equal(t, "3000", w.one(t, "select count(*) from ("+mirrored+") m"))
			})
		}
	}
}

// Without an end it goes up to now, by the export's clock.
func TestBackfill_WithoutAnEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	w.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) values
		(1, 'view', 'u', 1, now() - interval '1 minute', now() - interval '1 minute'), (2, 'view', 'u', 1, now() + interval '1 hour', now() - interval '1 minute')`)
	require.EqualValues(t, 2, w.run(t).Sent)
	w.lose(t, "true")
	src, opts := w.cfg.Sources[0], loader.BackfillOptions{From: day(1)}
	preview, err := w.loader(t).PreviewBackfill(t.Context(), src, opts)
	require.NoError(t, err)
	require.EqualValues(t, 1, preview.ToSend)
	require.EqualValues(t, 1, w.backfill(t, opts).Sent)
	require.Equal(t, "1", w.one(t, "select string_agg(loader_interaction_id, ',') from candu_test.screens"))
}

func TestBackfill_LeavesPendingRowsAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	w.insert(t, 1, *day(1))
	w.insert(t, 2, *day(2))
	_, err := w.loader(t).Backfill(t.Context(), w.cfg.Sources[0], loader.BackfillOptions{From: day(1)})
	require.Equal(t, fault.Precondition, fault.KindOf(err), "a schema that was never migrated")
	w.run(t)
	w.insert(t, 3, *day(3))
	summary := w.backfill(t, loader.BackfillOptions{From: day(1)})
	require.Zero(t, summary.Sent)
	require.EqualValues(t, 1, summary.Pending)
	require.EqualValues(t, 1, w.run(t).Sent)
	w.settled(t, "candu_interactions", "id")
}

func TestBackfill_ResendAndIntegrations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	w.insert(t, 1, *day(1))
	w.insert(t, 2, *day(20))
	w.run(t)
	before := w.one(t, "select max(uuid_ts) from candu_test.screens")
	summary := w.backfill(t, loader.BackfillOptions{From: day(1), To: day(2), Resend: true, Integrations: map[string]any{"All": false}})
	require.EqualValues(t, 1, summary.Sent)
	require.EqualValues(t, 1, w.fake.Stats().Duplicates, "with the same messageId")
	require.Equal(t, before, w.one(t, "select max(uuid_ts) from candu_test.screens"), "the mirror stays")
	w.lose(t, "true")
	summary = w.backfill(t, loader.BackfillOptions{From: day(1), To: day(2), ByExported: true})
	require.EqualValues(t, 1, summary.Sent)
}

func TestPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{segment: "max_events_per_second: 1000"})
	january(t, w, 500)
	w.exec(t, "update candu_interactions set user_id = null, anonymous_id = ' ' where id in (3, 4)")
	src := w.cfg.Sources[0]
	p, err := w.loader(t).PreviewRun(t.Context(), src, loader.RunOptions{})
	require.NoError(t, err)
	require.False(t, p.Migrated)
	require.EqualValues(t, 498, p.ToSend)
	require.Len(t, p.Rejects, 1)
	require.Equal(t, event.Count{Reason: "missing_identity", Rows: 2, Examples: []string{
		"id 3: user_id and anonymous_id are missing", "id 4: user_id and anonymous_id are missing"}}, p.Rejects[0])
	require.EqualValues(t, 5, p.Requests)
	require.InDelta(t, 0.498, p.SecondsAtLimit, 0.001)
	require.Len(t, p.Samples, 3)
	require.NotContains(t, string(p.Samples[0]), `"messageId"`, "the namespace is not drawn yet")
	require.Zero(t, w.fake.Stats().Requests)
	require.Equal(t, "NULL", w.one(t, "select to_regnamespace('candu_test')"), "nothing is written")

	w.run(t)
	p, err = w.loader(t).PreviewRun(t.Context(), src, loader.RunOptions{})
	require.NoError(t, err)
	require.Zero(t, p.ToSend)
	w.lose(t, `"timestamp" < '2026-01-03'`)
	p, err = w.loader(t).PreviewBackfill(t.Context(), src, loader.BackfillOptions{From: day(1), To: day(3)})
	require.NoError(t, err)
	require.Contains(t, string(p.Samples[0]), `"messageId":"`)
	require.Equal(t, w.one(t, "select count(*) - 2 from candu_interactions where occurred_at < '2026-01-03'"), strconv.FormatInt(p.ToSend, 10))
	require.Equal(t, "1", w.one(t, "select count(*) from candu_test.loader_runs"))
}

func TestBackfill_Repair(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 5d"})
	january(t, w, 300)
	w.run(t)
	w.lose(t, "true")
	require.EqualValues(t, 300, w.backfill(t, loader.BackfillOptions{From: day(1), Repair: true}).Sent)
	require.Equal(t, "repair succeeded", w.one(t, "select kind || ' ' || status from candu_test.loader_runs order by id desc limit 1"))
	w.settled(t, "candu_interactions", "id")
}

// "We connected a year late": what was exported before start_at no run loads, but a
// backfill does, and then verify still proves what is to be proved.
func TestBackfill_LoadsTheHistoryBeforeStartAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "start_at: 2026-01-10"})
	w.sample(t, loadertest.Export{Rows: 300, Start: *day(1), End: *day(31), Ties: 10})
	first := w.run(t).Sent
	require.Less(t, first, int64(300))
	require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
	summary := w.backfill(t, loader.BackfillOptions{From: day(1), Integrations: map[string]any{"All": false}})
	require.Equal(t, 300-first, summary.Sent)
	report := w.verify(t, loader.VerifyOptions{})
	require.True(t, report.Proved, "%+v", report)
	require.Zero(t, report.Gone.Rows)
	w.settled(t, "candu_interactions", "id")
}
