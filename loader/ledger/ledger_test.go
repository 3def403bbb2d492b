package ledger

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/secret"
)

func TestMain(m *testing.M) { os.Exit(loadertest.Main(m)) }

type testBundle struct {
	url    secret.URL
	db     *pgxpool.Pool
	id     Identity
	ledger *Ledger
}

func setup(tb testing.TB) *testBundle {
	tb.Helper()
	url := loadertest.Database(tb)
	b := &testBundle{url: secret.URL(url), db: loadertest.Pool(tb, url), id: Identity{Nickname: "N", Schema: "Odd Name"}}
	b.ledger = New(b.db, b.id)
	return b
}

func (b *testBundle) migrate(tb testing.TB) {
	tb.Helper()
	_, err := Migrate(tb.Context(), b.url, b.id, MigrateOptions{Create: true})
	require.NoError(tb, err)
}

func (b *testBundle) open(tb testing.TB) *Run {
	tb.Helper()
	run, err := b.ledger.OpenRun(tb.Context(), RunOptions{Kind: Manual})
	require.NoError(tb, err)
	return run
}

func finish(tb testing.TB, run *Run, end End) {
	tb.Helper()
	_, err := run.Finish(tb.Context(), end)
	require.NoError(tb, err)
}

func (b *testBundle) one(t *testing.T, sql string) (value string) {
	t.Helper()
	require.NoError(t, b.ledger.inTx(t.Context(), "looking", func(tx pgx.Tx) error {
		return tx.QueryRow(t.Context(), "select coalesce(("+sql+")::text, 'NULL')").Scan(&value)
	}))
	return value
}

func (b *testBundle) exec(t *testing.T, sql string) {
	t.Helper()
	require.NoError(t, b.ledger.inTx(t.Context(), "looking", func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), sql)
		return err
	}))
}

func TestMigrate_FromSeveralPlacesAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wait sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wait.Go(func() {
			id := b.id
			id.Schema = []string{"one", "Two"}[i%2]
			_, errs[i] = Migrate(t.Context(), b.url, id, MigrateOptions{Create: true})
		})
	}
	wait.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	var n int
	require.NoError(t, b.db.QueryRow(t.Context(), "select count(*) from pg_tables where schemaname = 'public'").Scan(&n))
	require.Zero(t, n, "nothing lands in public")
	require.NoError(t, b.db.QueryRow(t.Context(), `select count(*) from "Two".loader_state where nickname = 'N'`).Scan(&n))
	require.Equal(t, 1, n)
}

// Every table and column says what it means.
func TestMigrate_EverythingHasAComment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	require.Equal(t, "NULL", b.one(t, `
		select string_agg(c.relname || coalesce('.' || a.attname, ''), ', ')
		from pg_class c left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
		where c.relnamespace = '"Odd Name"'::regnamespace and c.relkind in ('r', 'v')
		  and (obj_description(c.oid) is null or col_description(c.oid, a.attnum) is null)`))
	require.Equal(t, `id varchar(1024) "C"`, b.one(t, `select attname || ' varchar(' || atttypmod - 4 || ') "' || collname || '"'
		from pg_attribute join pg_collation on pg_collation.oid = attcollation where attrelid = 'screens'::regclass and attnum = 1`))
	again, err := Migrate(t.Context(), b.url, b.id, MigrateOptions{Create: true})
	require.NoError(t, err)
	require.Equal(t, again.From, again.To)
	plan, _, err := Plan(t.Context(), b.url, b.id)
	require.NoError(t, err)
	require.Equal(t, plan.From, plan.To)
}

func TestMigrate_AFailedMigrationLeavesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// A type of the name of one of our tables makes the file fail in its middle.
	_, err := b.db.Exec(t.Context(), `create schema "Odd Name"; create type "Odd Name".loader_rejects as enum ('x')`)
	require.NoError(t, err)
	for range 2 {
		_, err = Migrate(t.Context(), b.url, b.id, MigrateOptions{Create: true})
		require.ErrorContains(t, err, `migration 1 of schema "Odd Name" was rolled back, the schema is not created`)
		require.NotContains(t, err.Error(), "irty")
		require.NotContains(t, err.Error(), "create table", "the file is not shown")
	}
	_, err = b.db.Exec(t.Context(), `drop type "Odd Name".loader_rejects`)
	require.NoError(t, err)
	b.migrate(t)
	require.Equal(t, "false", b.one(t, "select bool_or(dirty) from loader_schema_migrations"))
}

// A loader that died between golang-migrate's mark and the file leaves "dirty"; the
// next one knows that the file was rolled back.
func TestMigrate_HealsTheMarkOfADeadOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.db.Exec(t.Context(), `create schema "Odd Name"; set search_path to "Odd Name";
		create table loader_schema_migrations (version bigint not null primary key, dirty boolean not null);
		insert into loader_schema_migrations values (1, true)`)
	require.NoError(t, err)
	b.migrate(t)
	b.open(t)
}

func TestMigrate_Refuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	other := b.id
	other.Nickname = "Other"
	_, err := Migrate(t.Context(), b.url, other, MigrateOptions{Create: true})
	require.ErrorContains(t, err, `schema "Odd Name" holds source "N", not "Other"`)
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	other = b.id
	other.Namespace = uuid.Max
	_, err = New(b.db, other).OpenRun(t.Context(), RunOptions{Kind: Manual})
	require.ErrorContains(t, err, "message_namespace")
	require.Equal(t, fault.Config, fault.KindOf(err))
	require.Equal(t, "0", b.one(t, "select count(*) from loader_runs"), "nothing is half-written")
	other = b.id
	other.Readers = []string{"nobody here"}
	_, err = Migrate(t.Context(), b.url, other, MigrateOptions{Create: true})
	require.ErrorContains(t, err, `no role "nobody here"`)
	b.exec(t, "update loader_schema_migrations set version = 99")
	_, err = b.ledger.OpenRun(t.Context(), RunOptions{Kind: Manual})
	require.ErrorContains(t, err, "version 99")
}

func TestOpenRun_NeedsAMigration(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.ledger.OpenRun(t.Context(), RunOptions{Kind: Manual})
	require.ErrorIs(t, err, ErrAbsent)
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	b.migrate(t)
	b.undoLatest(t)
	_, err = b.ledger.OpenRun(t.Context(), RunOptions{Kind: Manual})
	require.ErrorIs(t, err, ErrNotMigrated)
	require.NotErrorIs(t, err, ErrAbsent)
	require.Equal(t, fault.Precondition, fault.KindOf(err))
}

func TestLease_OneHolderAtATime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	var wait sync.WaitGroup
	runs := make([]*Run, 8)
	for i := range runs {
		wait.Go(func() {
			run, err := b.ledger.OpenRun(t.Context(), RunOptions{Kind: Manual})
			if err == nil {
				runs[i] = run
				return
			}
			if !fault.Is(err, fault.Busy) {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	var holder *Run
	for _, run := range runs {
		if run != nil {
			require.Nil(t, holder, "two hold the lease")
			holder = run
		}
	}
	require.NotNil(t, holder)
	_, err := b.ledger.OpenRun(t.Context(), RunOptions{Kind: Backfill})
	require.NoError(t, err, "a backfill has a lease of its own")
	finish(t, holder, End{Status: "succeeded"})
	finish(t, holder, End{Status: "succeeded"})
	next := b.open(t)
	require.Greater(t, next.tokens[0], holder.tokens[0])
	require.Zero(t, next.Dead)
}

// What a loader records that lost its lease must not be committed.
func TestRecord_IsFenced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	zombie := b.open(t)
	b.exec(t, "update loader_leases set expires_at = clock_timestamp() - interval '1 hour'")
	heir := b.open(t)
	require.Equal(t, 1, heir.Dead)
	require.WithinDuration(t, time.Now().Add(-time.Hour-LeaseTTL), heir.DeadSince, time.Minute)
	require.Equal(t, "interrupted", b.one(t, "select status from loader_runs order by id limit 1"))

	row := event.Interaction{ID: "1", UserID: "u"}
	page := Page{
		Mirrored:  []Mirrored{{Events: []event.Event{{Kind: event.View, MessageID: "m", Row: &row, At: time.Now()}}}},
		Watermark: &Watermark{At: time.Now()},
	}
	require.Equal(t, fault.Busy, fault.KindOf(zombie.Record(t.Context(), groupOf(&page))))
	_, err := zombie.Finish(t.Context(), End{Status: "succeeded"})
	require.Equal(t, fault.Busy, fault.KindOf(err))
	require.Equal(t, "0", b.one(t, "select count(*) from screens"))
	require.Equal(t, "NULL", b.one(t, "select watermark_at from loader_state"))
	require.NoError(t, heir.Record(t.Context(), groupOf(&page)))
	require.NoError(t, heir.Record(t.Context(), groupOf(&page)), "recording again changes nothing")
	require.Equal(t, "1", b.one(t, "select count(*) from screens"))
}

// Pages of a group are recorded as if one after the other: a row that was rejected twice stands
// there as it was last, and one that went through after all not at all.
func TestRecord_AGroup(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	run := b.open(t)
	at := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	reject := func(id, detail string) Rejected {
		return Rejected{InteractionID: id, Reason: event.MissingIdentity, Detail: detail, Interaction: []byte("{}")}
	}
	page := func(id string, mark *Watermark, cleared []string, rejected ...Rejected) *Page {
		row := event.Interaction{ID: id, UserID: "u"}
		return &Page{
			Mirrored: []Mirrored{{Events: []event.Event{{Kind: event.View, MessageID: id, Row: &row, At: at}}}},
			Rejected: rejected, Cleared: cleared, Watermark: mark, Counters: Counters{Sent: int64(len(id))},
		}
	}
	var g Group
	require.False(t, g.Any())
	g.Add(page("old", nil, nil, reject("a", "old"), reject("b", "old")))
	require.NoError(t, run.Record(t.Context(), &g))
	g.Reset()
	require.False(t, g.Any())

	g.Add(page("1", &Watermark{At: at}, []string{"a"}, reject("b", "first"), reject("c", "first")))
	g.Add(page("22", &Watermark{At: at.Add(time.Hour)}, nil, reject("b", "last")))
	g.Add(page("333", nil, nil))
	require.NoError(t, run.Record(t.Context(), &g))
	require.Equal(t, "1,22,333,old", b.one(t, "select string_agg(id, ',' order by id) from screens"))
	require.Equal(t, "b last,c first", b.one(t, "select string_agg(interaction_id || ' ' || detail, ',' order by interaction_id) from loader_rejects"))
	require.Equal(t, "01:00:00", b.one(t, "select (watermark_at at time zone 'UTC')::time from loader_state"))
	require.Equal(t, "3", b.one(t, "select sent from loader_runs"))
}

// A role without the right to make temporary tables records what is missing all the same.
func TestRecord_WithoutTemporaryTables(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	run := b.open(t)
	page := samplePage()
	require.NoError(t, run.Record(t.Context(), groupOf(&page)))
	before := b.one(t, mirrorText)
	b.exec(t, "delete from screens where loader_interaction_id like 'bare%'; delete from tutorial_interaction where loader_interaction_id like 'full%'")
	err := pgx.BeginTxFunc(t.Context(), run.ledger.pool, pgx.TxOptions{BeginQuery: "begin" + run.ledger.locked}, func(tx pgx.Tx) error {
		for _, rows := range groupOf(&page, &page).tables {
			if err := run.ledger.copyMissing(t.Context(), tx, &rows); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, before, b.one(t, mirrorText))
}

// A loader that is stopped between two statements holds no row for longer than that.
func TestWriting_EndsByItself(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	for _, l := range []*Ledger{b.open(t).ledger.writing(), b.ledger.Slots("x").ledger} {
		var timeout string
		require.NoError(t, l.inTx(t.Context(), "looking", func(tx pgx.Tx) error {
			return tx.QueryRow(t.Context(), "show idle_in_transaction_session_timeout").Scan(&timeout)
		}))
		require.Equal(t, "10s", timeout)
	}
}

func TestRecord_TheWatermarkNeverGoesBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	run := b.open(t)
	at := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	id := "7"
	for _, step := range []struct {
		mark Watermark
		want string
	}{
		{Watermark{At: at}, "2026-01-02 -"},
		{Watermark{At: at, ID: &id}, "2026-01-02 7"},
		{Watermark{At: at}, "2026-01-02 7"},
		{Watermark{At: at.AddDate(0, 0, -1), ID: &id}, "2026-01-02 7"},
		{Watermark{At: at.AddDate(0, 0, 1)}, "2026-01-03 -"},
	} {
		require.NoError(t, run.Record(t.Context(), groupOf(&Page{Watermark: &step.mark})))
		require.Equal(t, step.want, b.one(t, "select (watermark_at at time zone 'UTC')::date || ' ' || coalesce(watermark_id, '-') from loader_state"))
	}
}

// The moment is the warehouse's, the time since then the loader's; a run that did not come to the
// end changes nothing of it.
func TestFinish_KeepsWhenTheSourceCaughtUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	until := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	reached := &Reached{At: time.Now().Add(-time.Hour), CompleteUntil: &until, HeldBack: "a reason"}
	finish(t, b.open(t), End{Status: RunSucceeded, Reached: reached})
	finish(t, b.open(t), End{Status: RunFailed})
	state, err := b.ledger.State(t.Context())
	require.NoError(t, err)
	require.Equal(t, "a reason", state.HeldBack)
	require.True(t, until.Equal(*state.CompleteUntil))
	require.Equal(t, "true", b.one(t, "select statement_timestamp() - caught_up_at between '1 hour' and '1 hour 5 minutes' from loader_state"))

	earlier := until.Add(-time.Hour)
	finish(t, b.open(t), End{Status: RunSucceeded, Reached: &Reached{At: time.Now(), CompleteUntil: &earlier}})
	next, err := b.ledger.State(t.Context())
	require.NoError(t, err)
	require.True(t, next.CaughtUpAt.After(*state.CaughtUpAt))
	require.True(t, until.Equal(*next.CompleteUntil), "it never goes back")
	require.Empty(t, next.HeldBack)
}

// A source fails since the end of the first run that failed after the last that succeeded. Only runs
// that load what came since the watermark say so.
func TestHistory_SinceWhenRunsFail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	end := func(kind RunKind, status RunStatus, text string) {
		t.Helper()
		run, err := b.ledger.OpenRun(t.Context(), RunOptions{Kind: kind})
		require.NoError(t, err)
		finish(t, run, End{Status: status, Err: text})
	}
	failing := func() *Failing {
		t.Helper()
		h, err := b.ledger.History(t.Context())
		require.NoError(t, err)
		return h.Failing
	}
	require.Nil(t, failing())
	end(Scheduled, RunFailed, "long ago")
	end(Scheduled, RunSucceeded, "")
	end(Backfill, RunFailed, "a backfill")
	end(Manual, RunInterrupted, "a signal")
	require.Nil(t, failing())
	end(Manual, RunFailed, "first")
	since := failing().Since
	end(Scheduled, RunInterrupted, "a signal")
	end(Repair, RunSucceeded, "")
	end(Scheduled, RunFailed, "last")
	require.Equal(t, &Failing{Since: since, Error: "last"}, failing())
	end(Scheduled, RunSucceeded, "")
	require.Nil(t, failing())
}

func TestKeep_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	run := b.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, run.Keep(ctx))
}
