package loader_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// hurried is a loader that takes turns quickly.
func (w *world) hurried(t *testing.T, patience time.Duration) *loader.Loader {
	t.Helper()
	l := w.loader(t)
	loader.Hurry(l, patience)
	return l
}

// underWay makes it look as if a run were under way, which reads from so long before the watermark.
func (w *world) underWay(t *testing.T, before string) {
	t.Helper()
	w.exec(t, `update candu_test.loader_leases set holder = 'a run', expires_at = now() + interval '30 seconds' where name = 'run'`)
	w.exec(t, `insert into candu_test.loader_runs (kind, status, holder, reads_from) select 'scheduled', 'running', 'a run', watermark_at - interval '`+before+`' from candu_test.loader_state`)
}

// What a run that is under way does not read again is sent beside it; the rest is not left to it, for it
// may have passed it: the backfill waits until the run has ended.
func TestBackfill_BesideARun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 2d"})
	january(t, w, 300)
	w.exec(t, "update candu_interactions set exported_at = occurred_at + interval '1 hour'")
	w.run(t)
	w.lose(t, "true")
	// It began lower than runs do.
	w.underWay(t, "6 days")
	far := w.one(t, "select count(*) from candu_interactions, candu_test.loader_state where exported_at < watermark_at - interval '6 days'")
	require.NotEqual(t, "0", far)

	done := make(chan error, 1)
	l := w.hurried(t, time.Hour)
	go func() {
		_, err := l.Backfill(t.Context(), w.cfg.Sources[0], loader.BackfillOptions{From: day(1)})
		done <- err
	}()
	loadertest.Eventually(t, func() bool { return w.one(t, "select count(*) from ("+mirrored+") m") == far }, "what lies before the run to be mirrored")
	require.Equal(t, "true", w.one(t, `select sends_before = (select reads_from from candu_test.loader_runs where holder = 'a run')
		from candu_test.loader_runs where kind = 'backfill'`))
	w.exec(t, "update candu_test.loader_leases set expires_at = now() where name = 'run'")
	require.NoError(t, loadertest.Receive(t, done, "the backfill to end after the run"))
	require.Equal(t, "300", w.one(t, "select count(*) from ("+mirrored+") m"))
	w.settled(t, "candu_interactions", "id")
}

// A run that does not end: what could not be sent is said.
func TestBackfill_GivesUpWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 2d"})
	january(t, w, 300)
	w.exec(t, "update candu_interactions set exported_at = occurred_at + interval '1 hour'")
	w.run(t)
	w.lose(t, "true")
	w.underWay(t, "6 days")
	_, err := w.hurried(t, time.Millisecond).Backfill(t.Context(), w.cfg.Sources[0], loader.BackfillOptions{From: day(1)})
	require.Equal(t, fault.Busy, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "the rest of the range is not: run the backfill again")
	require.NotEqual(t, "0", w.one(t, "select count(*) from ("+mirrored+") m"))
}

// A run that begins lower than runs do, because the export's clock was put back, waits for a
// backfill which may be sending what lies there.
func TestRun_BeginsLowerAfterABackfill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 2d"})
	january(t, w, 300)
	w.run(t)
	w.exec(t, `insert into candu_test.loader_leases select 'backfill', 'a backfill', 1, now(), now() + interval '30 seconds'`)
	w.exec(t, `insert into candu_test.loader_runs (kind, status, holder, sends_before) select 'backfill', 'running', 'a backfill', watermark_at - interval '2 days' from candu_test.loader_state`)
	_, err := w.hurried(t, time.Millisecond).Run(t.Context(), w.cfg.Sources[0], loader.RunOptions{})
	require.NoError(t, err, "it begins where the backfill ends")

	w.exec(t, "update candu_test.loader_runs set export_clock_behind = '-1 day' where kind = 'manual'")
	_, err = w.hurried(t, time.Millisecond).Run(t.Context(), w.cfg.Sources[0], loader.RunOptions{})
	require.Equal(t, fault.Busy, fault.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "the run begins among rows that the backfill of a backfill is sending")
	// The next one begins there too.
	done := make(chan error, 1)
	l := w.hurried(t, time.Hour)
	go func() {
		_, err := l.Run(t.Context(), w.cfg.Sources[0], loader.RunOptions{})
		done <- err
	}()
	loadertest.Eventually(t, func() bool {
		return w.one(t, "select count(*) from candu_test.loader_runs where status = 'running' and kind = 'manual'") == "1"
	}, "the run to begin")
	w.exec(t, "update candu_test.loader_leases set expires_at = now() where name = 'backfill'")
	require.NoError(t, loadertest.Receive(t, done, "the run to go on after the backfill"))
}

// A long backfill lets others go first, and then goes on where it was.
func TestBackfill_TakesTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 0s\npage_size: 10"})
	january(t, w, 300)
	w.run(t)
	// Somebody wants the lease once the backfill has recorded something.
	w.exec(t, `create function want() returns trigger language plpgsql as $$ begin
			update candu_test.loader_leases set wanted_by = 'a repair', wanted_at = now() + interval '1 hour' where name = 'backfill'; return new; end $$;
		create trigger want after update on candu_test.loader_runs for each row
			when (new.kind = 'backfill' and new.sent > 0 and old.sent = 0) execute function want()`)
	done := make(chan loader.BackfillSummary, 1)
	l := w.hurried(t, time.Hour)
	go func() {
		summary, err := l.Backfill(t.Context(), w.cfg.Sources[0], loader.BackfillOptions{From: day(1), Resend: true})
		if err != nil {
			t.Error(err)
		}
		done <- summary
	}()
	loadertest.Eventually(t, func() bool {
		require.Empty(t, done, "the backfill let nobody go first")
		require.Equal(t, "true", w.one(t, "select count(*) < 2 from candu_test.loader_runs where kind = 'backfill'"), "it came back before the other had its turn")
		return strings.Contains(w.log.String(), "the backfill lease is for a repair now")
	}, "the backfill to let the other go first")
	require.Equal(t, "true", w.one(t, "select expires_at < now() from candu_test.loader_leases where name = 'backfill'"))
	first := w.one(t, "select sent from candu_test.loader_runs where kind = 'backfill' and status = 'succeeded'")
	require.NotEqual(t, "0", first)
	require.NotEqual(t, "300", first)
	w.exec(t, "drop trigger want on candu_test.loader_runs")
	w.exec(t, `update candu_test.loader_leases set holder = 'a repair', expires_at = now() + interval '30 seconds', wanted_by = null, wanted_at = null where name = 'backfill'`)
	loadertest.Eventually(t, func() bool {
		return w.one(t, "select wanted_by is not null and wanted_by <> 'a repair' from candu_test.loader_leases where name = 'backfill'") == "true"
	}, "the backfill to wait for its turn")
	w.exec(t, "update candu_test.loader_leases set expires_at = now() where name = 'backfill'")
	summary := loadertest.Receive(t, done, "the backfill to go on")
	require.EqualValues(t, 300, summary.Sent, "each row once, over all turns")
	require.EqualValues(t, 300, w.fake.Stats().Duplicates)
}

// Who waits for a backfill says so, and gives up some time.
func TestRetry_WaitsForABackfill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.sample(t, loadertest.Export{Rows: 10})
	w.exec(t, "update candu_interactions set user_id = null, anonymous_id = null where id = 1")
	w.run(t)
	w.exec(t, "update candu_interactions set user_id = 'u' where id = 1")
	w.exec(t, `insert into candu_test.loader_leases values ('backfill', 'a backfill', 1, now(), now() + interval '30 seconds')`)
	_, err := w.hurried(t, time.Millisecond).RetryRejects(t.Context(), w.cfg.Sources[0], "")
	require.Equal(t, fault.Busy, fault.KindOf(err))
	require.ErrorContains(t, err, "held by a backfill")
	require.Equal(t, "true", w.one(t, "select wanted_by <> '' from candu_test.loader_leases where name = 'backfill'"), "it said that it waits")
	w.exec(t, "update candu_test.loader_leases set wanted_by = null") // It would be forgotten within 10 s.

	done := make(chan loader.Summary, 1)
	l := w.hurried(t, time.Hour)
	go func() {
		summary, err := l.RetryRejects(t.Context(), w.cfg.Sources[0], "")
		if err != nil {
			t.Error(err)
		}
		done <- summary
	}()
	loadertest.Eventually(t, func() bool {
		return w.one(t, "select coalesce(wanted_by, '') <> '' from candu_test.loader_leases where name = 'backfill'") == "true"
	}, "the retry to say that it waits")
	w.exec(t, "update candu_test.loader_leases set expires_at = now() where name = 'backfill'")
	require.EqualValues(t, 1, loadertest.Receive(t, done, "the retry to go on").Sent)
	require.Equal(t, "true", w.one(t, "select bool_and(wanted_by is null) from candu_test.loader_leases where name = 'backfill'"))
}
