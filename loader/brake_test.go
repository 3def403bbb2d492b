package loader_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/preflight"
)

// stopped demands that the run met too many rejects.
func stopped(t *testing.T, err error, words ...string) {
	t.Helper()
	require.Equal(t, fault.Precondition, fault.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "more than max_rejected")
	for _, word := range words {
		require.Contains(t, err.Error()+"\n"+fault.HintOf(err), word)
	}
}

func anything(t *testing.T) *config.MaxRejected {
	t.Helper()
	all, err := config.ParseMaxRejected("100%")
	require.NoError(t, err)
	return &all
}

// A wrong spelling in the config rejects every row: nothing is sent and nothing is recorded
// before somebody has looked.
func TestRun_StopsBeforeTooManyRejects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "interactions: {kinds: {view: [View], interaction: [interaction]}}"})
	january(t, w, 3_000)
	summary, err := w.try(t, loader.RunOptions{})
	stopped(t, err, "(20%)", "unknown_kind", `kind "view" stands for neither`, "candu-loader run Candu_Test --max-rejected 100%", "Nothing of this page was sent")
	require.EqualValues(t, "failed", summary.Status)
	require.EqualValues(t, 500, summary.RowsRead, "what was really read")
	require.EqualValues(t, 500, summary.RowsLeft)
	require.Zero(t, w.fake.Stats().Received)
	require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_rejects"))
	require.Equal(t, "NULL", w.one(t, "select watermark_at from candu_test.loader_state"))

	preview, err := w.loader(t).PreviewRun(t.Context(), w.cfg.Sources[0], loader.RunOptions{})
	require.NoError(t, err)
	require.Contains(t, preview.Stops, "more than max_rejected")
	require.EqualValues(t, 3_000, preview.RowsRead, "a dry run counts them all")

	finding := w.check(t)["rows_rejected"]
	require.Equal(t, preflight.LevelError, finding.Level)
	require.Contains(t, finding.Text, "of the newest 1,000 rows 1,000 are new to a run, and ")
	require.Contains(t, finding.Text, "so a run may stop", "there are others, which are not looked at")
	require.Contains(t, w.check(t)["kinds_unknown"].Text, `"view"`)

	t.Log("once it lets them pass, and then they are known")
	summary, err = w.try(t, loader.RunOptions{MaxRejected: anything(t)})
	require.NoError(t, err)
	adds(t, summary)
	require.Greater(t, summary.Rejected, int64(1_500))
	again := w.run(t)
	require.Zero(t, again.Rejected)
	finding = w.check(t)["rows_rejected"]
	require.Equal(t, preflight.LevelWarning, finding.Level, "what is a reject already stops no run")
	require.Contains(t, finding.Text, "in loader_rejects already")
	w.settled(t, "candu_interactions", "id")
}

// Rows before the bad ones are loaded, and stay loaded; the watermark stays before the page.
func TestRun_StopsAtThePageThatHasTooMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "page_size: 30\nlookback: 0s", segment: "batch_size: 30"})
	w.plain(t)
	for i := range 120 {
		w.insert(t, i, day(1).Add(time.Duration(i)*time.Second))
	}
	w.exec(t, "update candu_interactions set kind = 'hover' where id between 60 and 80")
	// What is under way when the page is met is tried again as ever.
	w.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Status, Status: 503, Next: 2}}})
	for range 2 { // The second one begins there.
		_, err := w.try(t, loader.RunOptions{})
		stopped(t, err, "unknown_kind", "id 60: kind")
		require.Equal(t, "0", w.one(t, passed))
		require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_rejects"))
		require.Equal(t, "59", w.one(t, "select watermark_id from candu_test.loader_state"), "what comes before the page is loaded")
		require.EqualValues(t, 60, w.fake.Stats().Received, "nothing of the page was sent")
	}
	_, err := w.try(t, loader.RunOptions{MaxRejected: anything(t)})
	require.NoError(t, err)
	w.settled(t, "candu_interactions", "id")
}

// A few bad rows stop nobody, nor do bad rows that were rejected before; a number is a limit of
// its own.
func TestRun_MaxRejectedIsAboutNewRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 60d\nmax_rejected: 3"})
	w.plain(t)
	for i := range 10 {
		w.insert(t, i, *day(1))
	}
	w.exec(t, "update candu_interactions set tutorial_id = null where id < 3")
	require.EqualValues(t, 3, w.run(t).Rejected)
	for i := range 10 {
		w.insert(t, 10+i, *day(1))
	}
	w.exec(t, "update candu_interactions set tutorial_id = null where id between 10 and 12")
	second := w.run(t)
	require.EqualValues(t, 3, second.Rejected)
	require.EqualValues(t, 3, second.RejectedBefore)
	for i := range 4 {
		w.insert(t, 20+i, *day(1))
	}
	w.exec(t, "update candu_interactions set tutorial_id = null where id >= 20")
	_, err := w.try(t, loader.RunOptions{})
	stopped(t, err, "rejecting 4 of 4 new rows", "(3)")
	t.Log("what Segment refuses has a judge of its own")
	w.exec(t, "update candu_interactions set tutorial_id = 1, user_id = 'poison' where id >= 20")
	for i := range 4 {
		w.insert(t, 30+i, *day(1))
	}
	w.fake.SetFaults(fakesegment.Faults{Poison: []fakesegment.Poison{{UserID: "poison"}}})
	require.NotContains(t, w.log.String(), "more than max_rejected were rejected")
	require.EqualValues(t, 4, w.run(t).Rejected)
	require.Contains(t, w.log.String(), "more than max_rejected were rejected; all others were sent")
	require.Contains(t, w.log.String(), "rejected=4 new_rows=8 max_rejected=3")
}

// Rows that the warehouse refuses are rejects like others: too many of them stop a run before
// their page is sent, whether it is the run's first, or one further on that a run before could not record.
func TestRun_StopsBeforeTooManyRowsThatCanNotBeRecorded(t *testing.T) {
	t.Parallel()
	for name, begins := range map[string]int{"from the first page on": 0, "further on": 40} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{source: "page_size: 30\nlookback: 0s\nmax_rejected: 10%", segment: "batch_size: 30"})
			w.plain(t)
			require.Zero(t, w.run(t).RowsRead)
			for i := range 120 {
				w.insert(t, i, day(1).Add(time.Duration(i)*time.Second))
			}
			w.exec(t, "update candu_interactions set tutorial_id = id + 1")
			w.exec(t, raises("screens", fmt.Sprintf("new.tutorial_id > %d and new.tutorial_id %% 3 = 0", begins), "raise 'not this one'"))
			if begins > 0 {
				_, err := w.try(t, loader.RunOptions{})
				require.ErrorContains(t, err, "not this one")
			}
			for n := range 2 {
				before := w.fake.Stats().Received
				_, err := w.try(t, loader.RunOptions{})
				stopped(t, err, "can_not_be_recorded (id ", "not this one", "what the warehouse refuses them for", "candu-loader run Candu_Test --max-rejected 100%")
				require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_rejects"))
				if begins == 0 || n > 0 {
					require.Equal(t, before, w.fake.Stats().Received, "nothing of the page was sent")
				} else {
					require.Equal(t, "29", w.one(t, "select watermark_id from candu_test.loader_state"), "what comes before the page is loaded")
				}
			}
			summary, err := w.try(t, loader.RunOptions{MaxRejected: anything(t)})
			require.NoError(t, err)
			adds(t, summary)
			require.EqualValues(t, (120-begins+2)/3, summary.Rejected)
			require.Zero(t, w.run(t).Rejected, "they are known, and stop nobody")
			require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
		})
	}
}

// A backfill has the brake, a retry has none: its rows are rejects already.
func TestBackfill_StopsBeforeTooManyRejects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "start_at: 2026-01-20\nlookback: 0s"})
	w.sample(t, loadertest.Export{Rows: 600, Start: *day(1), End: *day(31), Ties: 5})
	w.run(t)
	w.exec(t, "update candu_interactions set kind = 'hover' where exported_at < '2026-01-15'")
	sent := w.fake.Stats().Received
	_, err := w.loader(t).Backfill(t.Context(), w.cfg.Sources[0], loader.BackfillOptions{From: day(1), To: day(15)})
	stopped(t, err, "candu-loader backfill Candu_Test --from 2026-01-01T00:00:00Z --to 2026-01-15T00:00:00Z --max-rejected 100%")
	require.Equal(t, sent, w.fake.Stats().Received)
	summary := w.backfill(t, loader.BackfillOptions{From: day(1), To: day(15), MaxRejected: anything(t)})
	require.NotZero(t, summary.Rejected)
	retried, err := w.loader(t).RetryRejects(t.Context(), w.cfg.Sources[0], "")
	require.NoError(t, err)
	require.Equal(t, summary.Rejected, retried.Rejected)
}

// Without the column kind nobody guesses: what was sent can't be called back.
func TestRun_ATableWithoutKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	january(t, w, 100)
	interactions := w.one(t, "select count(*) from candu_interactions where kind = 'interaction'")
	w.exec(t, "alter table candu_interactions drop column kind")
	_, err := w.try(t, loader.RunOptions{})
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.ErrorContains(t, err, `column "kind" (kind) is missing`)
	require.Contains(t, fault.HintOf(err), "kinds: by_event_name")
	require.Zero(t, w.fake.Stats().Received)
	finding := w.check(t)["export_unusable"]
	require.Equal(t, preflight.LevelError, finding.Level)
	require.Contains(t, finding.Hint, "kinds: by_event_name")

	w.cfg.Sources[0].Interactions.Kinds = config.Kinds{ByEventName: true}
	require.Equal(t, preflight.LevelInfo, w.check(t)["kinds_by_event_name"].Level)
	require.EqualValues(t, 100, w.run(t).Sent)
	require.Equal(t, interactions, w.one(t, "select count(*) from candu_test.tracks"))
	require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
	w.settled(t, "candu_interactions", "id")
}

// by_event_name decides even where there is a column kind.
func TestRun_ByEventNameLeavesKindAside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "interactions: {kinds: by_event_name}"})
	january(t, w, 100)
	interactions := w.one(t, "select count(*) from candu_interactions where kind = 'interaction'")
	w.exec(t, "update candu_interactions set kind = 'x' || id")
	require.EqualValues(t, 100, w.run(t).Sent)
	require.Equal(t, interactions, w.one(t, "select count(*) from candu_test.tracks"))
	require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
}

func TestCheck_JudgesTheNewestRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "interactions: {kinds: {view: [Screen, seen], interaction: [Track]}}"})
	w.sample(t, loadertest.Export{})
	w.exec(t, "create type kind as enum ('Screen', 'Track', 'other', 'more')")
	w.exec(t, "alter table candu_interactions alter kind type kind using kind::kind")
	w.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at)
		select n, case when n <= 3000 or n % 100 = 0 then 'other' else 'Screen' end::kind, 'u', 1, now(), now() + (n - 5000) * interval '1 s' from generate_series(1, 4000) n`)
	codes := w.check(t)
	require.Equal(t, preflight.LevelWarning, codes["rows_rejected"].Level)
	require.Contains(t, codes["rows_rejected"].Text, "of the newest 1,000 rows 1,000 are new to a run, and 10 of these would be rejected: 10 unknown_kind (id 4000")
	require.Equal(t, `kinds of the newest 1,000 rows that stand for neither view nor interaction: "other"; the enum has "Screen", "Track", "other", "more"`, codes["kinds_unknown"].Text)
	require.Equal(t, `kind is an enum; labels that stand for neither view nor interaction: "other", "more"; spellings in the config that are no label: "seen"`, codes["kind_labels"].Text)

	w.exec(t, "update candu_interactions set kind = 'other' where id > 3700")
	codes = w.check(t)
	require.Equal(t, preflight.LevelError, codes["rows_rejected"].Level)
	require.True(t, strings.HasSuffix(codes["rows_rejected"].Hint, "candu-loader run Candu_Test --max-rejected 100%"), codes["rows_rejected"].Hint)
}

// What a backfill rejects is counted by reason over both of its parts, as its numbers are.
func TestBackfill_TellsOfAllThatItRejects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 5d"})
	january(t, w, 300)
	w.run(t)
	w.lose(t, "true")
	w.exec(t, "update candu_interactions set kind = 'hover' where id % 10 = 0")
	summary := w.backfill(t, loader.BackfillOptions{From: day(1)})
	adds(t, summary.Summary)
	require.EqualValues(t, 30, summary.Rejected)
	require.Len(t, summary.Rejects, 1)
	require.EqualValues(t, 30, summary.Rejects[0].Rows)
	require.Contains(t, w.log.String(), "reason=unknown_kind rows=30")
}
