package ledger

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// viewed is a page of one view, as Segment accepted it.
func viewed(number int64, id string, at time.Time) *Page {
	row := event.Interaction{ID: id, UserID: "u"}
	return &Page{
		Number:    number,
		Mirrored:  []Mirrored{{Events: []event.Event{{Kind: event.View, MessageID: id, Row: &row, At: at}}}},
		Watermark: &Watermark{At: at, ID: &id}, Counters: Counters{Sent: number},
	}
}

func spoilt(number int64, id, messageID string) *Page {
	return &Page{Number: number, Rejected: []Rejected{{InteractionID: id, MessageID: messageID, Reason: event.MissingIdentity, Interaction: []byte("{}")}}}
}

var newYear = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

// The warehouse loses its last commits while a run is under way: what comes next is not recorded, nor
// does the run end as if nothing had been.
func TestRecord_AWarehouseThatWentBack(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]string{
		"a page":  `update loader_runs set page = 1; update loader_state set watermark_id = 'a'; delete from screens where id = 'b'`,
		"the run": `delete from loader_runs; delete from screens; update loader_state set watermark_at = null, watermark_id = null`,
		// Tokens and numbers of runs repeat after a restore: this is another loader's run 1.
		"another run": `update loader_runs set holder = 'other', page = 2; update loader_leases set holder = 'other'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.migrate(t)
			run := b.open(t)
			require.NoError(t, run.Record(t.Context(), groupOf(viewed(1, "a", newYear))))
			require.NoError(t, run.Record(t.Context(), groupOf(viewed(2, "b", newYear))))
			require.NoError(t, run.Record(t.Context(), groupOf(viewed(2, "b", newYear))), "the answer got lost")
			b.exec(t, back)
			const stands = `select concat_ws(' ', (select string_agg(id, ',') from screens), s.watermark_id, (select string_agg(status || page, ',') from loader_runs)) from loader_state s`
			before := b.one(t, stands)

			want := fault.Failed
			if name == "another run" {
				want = fault.Busy
			}
			err := run.Record(t.Context(), groupOf(viewed(3, "c", newYear)))
			require.Equal(t, want, fault.KindOf(err), "%v", err)
			if want == fault.Failed {
				require.ErrorContains(t, err, "the warehouse went back, nothing more was recorded")
			}
			_, err = run.Finish(t.Context(), End{Status: RunSucceeded, Reached: &Reached{At: time.Now(), CompleteUntil: &newYear}})
			require.Error(t, err)
			require.Equal(t, want, fault.KindOf(err), "%v", err)
			require.Equal(t, before, b.one(t, stands))
			require.Equal(t, "NULL", b.one(t, "select complete_until from loader_state"))
		})
	}
}

// An answer that kept a row from being sent must still be there when the row's page is recorded.
func TestAnswers_AreCommits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	backfill, err := b.ledger.OpenRun(t.Context(), RunOptions{Kind: Backfill})
	require.NoError(t, err)
	require.NoError(t, backfill.Record(t.Context(), groupOf(viewed(backfill.Answers().Page(), "b", newYear))))
	require.NoError(t, backfill.Record(t.Context(), groupOf(spoilt(backfill.Answers().Page(), "r", ""))))

	run := b.open(t)
	answers := run.Answers()
	found, err := answers.Delivered(t.Context(), answers.Page(), []string{"x"})
	require.NoError(t, err)
	require.NotContains(t, found, "x")
	require.Equal(t, "0", b.one(t, "select asked from loader_runs where kind = 'manual'"), "nothing was found")
	require.NoError(t, run.Record(t.Context(), groupOf(viewed(1, "x", newYear))))

	ask := map[string]func(page int64) error{
		"the mirror": func(page int64) error {
			found, err := answers.Delivered(t.Context(), page, []string{"a", "b"})
			require.Contains(t, found, "b")
			return err
		},
		"the rejects": func(page int64) error {
			known, err := answers.KnownRejects(t.Context(), page, []string{"r"})
			require.Contains(t, known, "r")
			return err
		},
	}
	for name, ask := range ask {
		number := answers.Page()
		page := &Page{Number: number, Asked: true, Watermark: &Watermark{At: newYear.Add(time.Duration(number) * time.Hour)}}
		require.NoError(t, ask(number))
		// The warehouse goes back to before the backfill's page; the run's own pages are all there.
		b.exec(t, "update loader_runs set asked = asked - 1 where kind = 'manual'")
		err = run.Record(t.Context(), groupOf(page))
		require.ErrorContains(t, err, "the warehouse went back", name)
		require.NoError(t, ask(number))
		require.NoError(t, run.Record(t.Context(), groupOf(page)), name)
	}
	// A page of which there is nothing to record is not, but the run claims it as it ends.
	require.NoError(t, ask["the mirror"](answers.Page()))
	b.exec(t, "update loader_runs set asked = asked - 1 where kind = 'manual'")
	_, err = run.Finish(t.Context(), End{Status: RunSucceeded, Reached: &Reached{At: time.Now(), CompleteUntil: &newYear}})
	require.ErrorContains(t, err, "the warehouse went back")
	require.Equal(t, "NULL", b.one(t, "select complete_until from loader_state"))

	// Asked of another server, or after a takeover: the answer is none.
	b.exec(t, "update loader_runs set holder = 'other' where kind = 'manual'")
	for name, ask := range ask {
		require.ErrorContains(t, ask(answers.Page()), "the warehouse went back", name)
	}
	b.exec(t, "update loader_runs set status = 'interrupted', holder = '"+run.holder+"' where kind = 'manual'")
	for name, ask := range ask {
		require.Equal(t, fault.Busy, fault.KindOf(ask(answers.Page())), name)
	}
}

// A row never ends in the mirror and among the rejects, whatever a run and a backfill beside it know
// of each other.
func TestRecord_MirroredRowsAreNoRejects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	run := b.open(t)
	require.False(t, run.HasRejects)
	backfill, err := b.ledger.OpenRun(t.Context(), RunOptions{Kind: Backfill})
	require.NoError(t, err)

	// The run opened when there was no reject. The row is rejected, mended and exported again.
	require.NoError(t, backfill.Record(t.Context(), groupOf(spoilt(1, "5", "m5"))))
	page := viewed(1, "m5", newYear)
	page.Mirrored[0].Events[0].Row.ID = "5"
	require.NoError(t, run.Record(t.Context(), groupOf(page)))
	require.Equal(t, "0", b.one(t, "select count(*) from loader_rejects"))

	// The row is sent, spoilt and exported again.
	require.NoError(t, backfill.Record(t.Context(), groupOf(spoilt(2, "5", "m5"), spoilt(2, "6", "m6"), spoilt(2, "7", ""))))
	require.Equal(t, "6,7", b.one(t, "select string_agg(interaction_id, ',' order by interaction_id) from loader_rejects"))

	// Whoever records waits for the other: what it reads stays true until it commits.
	tx, err := b.db.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `select from "Odd Name".loader_state for update`)
	require.NoError(t, err)
	recorded := make(chan error, 1)
	go func() { recorded <- backfill.Record(t.Context(), groupOf(spoilt(3, "8", "m8"))) }()
	defer func() { _ = tx.Rollback(context.Background()) }()
	loadertest.Eventually(t, func() bool {
		var n int
		return b.db.QueryRow(t.Context(), "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").Scan(&n) == nil && n == 1
	}, "the one who records to wait")
	_, err = tx.Exec(t.Context(), `insert into "Odd Name".screens (id, loader_interaction_id) values ('m8', '8')`)
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, loadertest.Receive(t, recorded, "the reject to be recorded"))
	require.Equal(t, "6,7", b.one(t, "select string_agg(interaction_id, ',' order by interaction_id) from loader_rejects"))
}

// begins opens a run of new rows, on an export whose clock is behind the warehouse's by so much.
func (b *testBundle) begins(t *testing.T, behind time.Duration, change func(*Beginning)) *Run {
	t.Helper()
	var clock time.Time
	require.NoError(t, b.db.QueryRow(t.Context(), "select clock_timestamp()").Scan(&clock))
	begin := &Beginning{ExportClock: clock.Add(-behind), At: time.Now(), Lookback: func(*time.Time) time.Duration { return 15 * time.Minute }}
	if change != nil {
		change(begin)
	}
	run, err := b.ledger.OpenRun(t.Context(), RunOptions{Kind: Manual, Begin: begin})
	require.NoError(t, err)
	return run
}

// A clock that ran ahead and was put right: rows that come now lie below the watermark.
func TestOpenRun_FollowsTheExportsClock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	first := b.begins(t, -time.Hour, nil)
	require.Zero(t, first.ClockLost)
	require.Nil(t, first.State.WatermarkAt)
	require.NoError(t, first.Record(t.Context(), groupOf(viewed(1, "a", newYear))))
	finish(t, first, End{Status: RunSucceeded, Reached: &Reached{At: time.Now(), CompleteUntil: &newYear}})

	second := b.begins(t, 0, nil)
	require.InDelta(t, time.Hour, second.ClockLost, float64(30*time.Second))
	require.WithinDuration(t, newYear.Add(-time.Hour), *second.State.WatermarkAt, 30*time.Second)
	require.Nil(t, second.State.WatermarkID, "before all rows of that moment")
	const stands = "select concat_ws(' ', s.watermark_at = s.complete_until, (select reads_from = s.watermark_at - interval '15 minutes' from loader_runs where id = %s)) from loader_state s"
	require.Equal(t, "t t", b.one(t, "select concat_ws(' ', s.watermark_at = s.complete_until, r.reads_from = s.watermark_at - interval '15 minutes') from loader_state s, loader_runs r where r.id = 2"), stands)
	finish(t, second, End{Status: RunSucceeded})
	require.Zero(t, b.begins(t, 0, nil).ClockLost, "it is put back once")

	// It runs ahead while a run is under way, and is put right before the next.
	b.exec(t, "update loader_leases set expires_at = now()")
	ahead := b.begins(t, 0, nil)
	ahead.Measure(time.Now().Add(2*time.Hour), time.Now())
	ahead.Measure(time.Now(), time.Now())
	require.NoError(t, ahead.Record(t.Context(), groupOf(viewed(1, "b", newYear))))
	finish(t, ahead, End{Status: RunSucceeded})
	require.InDelta(t, 2*time.Hour, b.begins(t, 0, nil).ClockLost, float64(30*time.Second))
}

// A start is stored once, under the lease, and the run begins from what is stored.
func TestOpenRun_BeginsFromTheStoredStart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	at := func(at time.Time) func(*Beginning) {
		return func(b *Beginning) { b.StartAt, b.StartNow = &at, true }
	}
	slow := b.begins(t, 0, at(newYear))
	require.True(t, newYear.Equal(*slow.State.WatermarkAt))
	b.exec(t, "update loader_leases set expires_at = now()")
	next := b.begins(t, 0, at(newYear.Add(time.Hour)))
	require.True(t, newYear.Equal(*next.State.StartAt))
	require.True(t, newYear.Equal(*next.State.WatermarkAt))
	require.Equal(t, "true", b.one(t, "select reads_from = start_at from loader_state, loader_runs where id = 2"), "nothing before the start")
	finish(t, next, End{Status: RunSucceeded})

	// A start of now that a clock told which ran ahead.
	b.exec(t, "update loader_runs set export_clock_behind = '-1 hour'")
	back := b.begins(t, 0, at(newYear))
	require.WithinDuration(t, newYear.Add(-time.Hour), *back.State.StartAt, 30*time.Second)
	// A start that somebody chose stays.
	b.exec(t, "update loader_leases set expires_at = now(); update loader_runs set export_clock_behind = '-1 hour'; update loader_state set start_at = '2026-01-02', watermark_at = '2026-01-02'")
	chosen := b.begins(t, 0, func(b *Beginning) { b.StartAt = &newYear })
	require.Equal(t, "2026-01-02", chosen.State.StartAt.UTC().Format(time.DateOnly))
	require.Equal(t, "true", b.one(t, "select reads_from = start_at from loader_state, loader_runs where id = "+b.one(t, "select max(id) from loader_runs")))
}

// A lease that ended is free whatever the clock does, and so is one from the future.
func TestLease_AClockThatWasPutBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	finish(t, b.open(t), End{Status: RunSucceeded})
	require.Equal(t, "true", b.one(t, "select expires_at < '1971-01-01' from loader_leases"))
	b.open(t)
	b.exec(t, "update loader_leases set expires_at = clock_timestamp() + interval '45 seconds'")
	_, err := b.ledger.OpenRun(t.Context(), RunOptions{Kind: Manual})
	require.Equal(t, fault.Busy, fault.KindOf(err), "a step of the clock frees no living lease")
	b.exec(t, "update loader_leases set expires_at = clock_timestamp() + interval '1 hour'")
	require.Equal(t, 1, b.open(t).Dead)
}

// A retry and a repair send rows that a backfill may have under way.
func TestOpenRun_RepairAndRetryHoldBothLeases(t *testing.T) {
	t.Parallel()
	for _, kind := range []RunKind{Repair, Retry} {
		b := setup(t)
		b.migrate(t)
		try := func(kind RunKind) (*Run, fault.Kind) {
			run, err := b.ledger.OpenRun(t.Context(), RunOptions{Kind: kind})
			return run, fault.KindOf(err)
		}
		for _, other := range []RunKind{Backfill, Manual} {
			holder, _ := try(other)
			require.NotNil(t, holder)
			run, refused := try(kind)
			require.Nil(t, run)
			require.Equal(t, fault.Busy, refused)
			require.Equal(t, "1", b.one(t, "select count(*) from loader_leases where expires_at > now()"), "neither is taken")
			finish(t, holder, End{Status: RunSucceeded})
		}
		both, _ := try(kind)
		require.NotNil(t, both)
		for _, other := range []RunKind{Backfill, Manual} {
			_, refused := try(other)
			require.Equal(t, fault.Busy, refused)
		}
		require.NoError(t, both.Record(t.Context(), groupOf(viewed(1, "a", newYear))))
		finish(t, both, End{Status: RunSucceeded})
		require.Equal(t, "0", b.one(t, "select count(*) from loader_leases where expires_at > now()"))
	}
}

// Who takes over one lease leaves the runs of the other alone.
func TestOpenRun_OnlyTheDeadAreDeclaredDead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	open := func(opts RunOptions) *Run {
		run, err := b.ledger.OpenRun(t.Context(), opts)
		require.NoError(t, err)
		return run
	}
	open(RunOptions{Kind: Backfill})
	// The part of a backfill that takes the run's lease.
	open(RunOptions{Kind: Backfill, Lease: LeaseRun})
	b.exec(t, "update loader_leases set expires_at = now() where name = 'run'")
	require.Equal(t, 1, open(RunOptions{Kind: Manual}).Dead)
	require.Equal(t, "running,interrupted,running", b.one(t, "select string_agg(status, ',' order by id) from loader_runs"))
}

// What a run calls succeeded survives a crash of its server.
func TestFinish_WaitsForTheDisk(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	for set, want := range map[string]string{"off": "local", "remote_write": "remote_write", "on": "on"} {
		b.exec(t, `drop table if exists seen; create table seen as select ''::text as setting with no data;
			create or replace function note() returns trigger language plpgsql as $$ begin
				insert into "Odd Name".seen values (current_setting('synchronous_commit')); return new; end $$;
			drop trigger if exists note on loader_runs;
			create trigger note after update on loader_runs for each row when (new.status <> 'running') execute function note()`)
		run := b.open(t)
		run.ledger.begin += "; set local synchronous_commit to " + set
		finish(t, run, End{Status: RunSucceeded})
		require.Equal(t, want, b.one(t, "select setting from seen"))
	}
}

// What is stored once, and never again, survives a crash of the server too.
func TestStored_WaitsForTheDisk(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	b.exec(t, `create table seen as select ''::text as setting with no data;
		create or replace function note() returns trigger language plpgsql as $$ begin
			insert into "Odd Name".seen values (current_setting('synchronous_commit')); return new; end $$;
		create trigger note after update on loader_state for each row execute function note()`)
	_, err := b.db.Exec(t.Context(), "alter database "+b.one(t, "quote_ident(current_database())")+" set synchronous_commit to off")
	require.NoError(t, err)
	b.db.Reset()
	for name, store := range map[string]func(){
		"the start of a source": func() {
			finish(t, b.begins(t, 0, func(b *Beginning) { b.StartAt = &newYear }), End{Status: RunFailed})
		},
		"an answer":      func() { _, err = Migrate(t.Context(), b.url, b.id, MigrateOptions{Moved: true}) },
		"another export": func() { err = b.ledger.ResetExport(t.Context(), Export{Place: Place{Database: "d"}, Relation: "r"}) },
	} {
		b.exec(t, "truncate seen")
		store()
		require.NoError(t, err, name)
		require.Equal(t, "local", b.one(t, "select string_agg(distinct setting, ',') from seen"), name)
	}
}

// Who lost the lease to another neither renews nor frees it, and learns of it.
func TestLease_ItsHolderAloneRenewsAndFreesIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	zombie := b.open(t)
	require.NoError(t, zombie.renew(t.Context()))
	b.exec(t, "update loader_leases set expires_at = clock_timestamp() + interval '1 second'")
	require.NoError(t, zombie.renew(t.Context()))
	require.Equal(t, "true", b.one(t, "select expires_at > clock_timestamp() + interval '20 seconds' from loader_leases"), "it is renewed")
	b.exec(t, "update loader_leases set expires_at = clock_timestamp() - interval '1 second'")
	heir := b.open(t)
	const lease = "select holder || token || expires_at from loader_leases"
	before := b.one(t, lease)
	require.Equal(t, fault.Busy, fault.KindOf(zombie.renew(t.Context())))
	require.Equal(t, before, b.one(t, lease))
	_, err := zombie.Finish(t.Context(), End{Status: RunFailed})
	require.Equal(t, fault.Busy, fault.KindOf(err))
	require.Equal(t, before, b.one(t, lease))
	require.NoError(t, heir.renew(t.Context()))
	finish(t, heir, End{Status: RunSucceeded})
	require.Equal(t, "0", b.one(t, "select count(*) from loader_leases where expires_at > clock_timestamp()"))
}
