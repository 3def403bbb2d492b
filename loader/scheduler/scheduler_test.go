package scheduler_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/pipeline"
	"github.com/candu-loader/candu-loader/loader/scheduler"
)

func TestMain(m *testing.M) { os.Exit(loadertest.Main(m)) }

// bundle is a warehouse with an export, and a fake Segment.
type bundle struct {
	url      string
	db       *pgxpool.Pool
	fake     *fakesegment.Server
	endpoint string
	source   string // more lines of the source
	log      loadertest.Log
}

func setup(t *testing.T, source string) *bundle {
	t.Helper()
	b := &bundle{url: loadertest.Database(t), source: source}
	b.db = loadertest.Pool(t, b.url)
	b.fake, b.endpoint = loadertest.Segment(t, fakesegment.Options{})
	export := loadertest.Export{Rows: 500}
	require.NoError(t, export.Create(t.Context(), b.db))
	require.NoError(t, export.Fill(t.Context(), b.db))
	return b
}

// scheduler returns one replica.
func (b *bundle) scheduler(t *testing.T) (*scheduler.Scheduler, *watcher) {
	t.Helper()
	cfg, err := config.Parse("test.yaml", fmt.Appendf(nil, `
warehouse: {url: %q}
segment: {endpoint: %q, max_events_per_second: 0, retry_for: 1m}
sources:
- nickname: Candu_Test
  write_key: key
%s`, b.url, b.endpoint, b.source), func(string) (string, bool) { return "", false })
	require.NoError(t, err)
	log := slog.New(slog.NewTextHandler(&b.log, nil))
	l := loader.New(cfg, log)
	t.Cleanup(l.Close)
	_, err = l.Migrate(t.Context(), cfg.Sources[0], ledger.MigrateOptions{Create: true})
	require.NoError(t, err)
	w := &watcher{ended: make(chan ended, 1000), slots: map[ledger.SlotStatus]int{}}
	return scheduler.New(l, cfg.Sources, log, w), w
}

// since says that slots were counted since some time ago.
func (b *bundle) since(t *testing.T, schedule string, ago time.Duration) {
	t.Helper()
	b.exec(t, `update candu_test.loader_state set slots_schedule = $1, slots_since = clock_timestamp() - $2::interval`, schedule, ago)
}

// serve runs a scheduler until the test ends or stop is called.
func serve(t *testing.T, s *scheduler.Scheduler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

// slots returns the recorded slots, the oldest first.
func (b *bundle) slots(t *testing.T) []string {
	t.Helper()
	rows, err := b.db.Query(t.Context(), `
		select status || coalesce(' run ' || run_id, '') || coalesce(': ' || note, '')
		from candu_test.loader_slots order by slot_at`)
	require.NoError(t, err)
	var all []string
	for rows.Next() {
		var s string
		require.NoError(t, rows.Scan(&s))
		all = append(all, s)
	}
	require.NoError(t, rows.Err())
	return all
}

func (b *bundle) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	_, err := b.db.Exec(t.Context(), sql, args...)
	require.NoError(t, err, sql)
}

type ended struct {
	summary loader.Summary
	err     error
	retry   time.Time
}

type watcher struct {
	ended chan ended

	mu    sync.Mutex
	slots map[ledger.SlotStatus]int
}

func (*watcher) Progress(*config.Source, loader.Progress)           {}
func (*watcher) Timed(*config.Source, pipeline.Step, time.Duration) {}
func (w *watcher) Ended(_ *config.Source, s loader.Summary, err error, retry time.Time) {
	w.ended <- ended{s, err, retry}
}
func (w *watcher) Slots(_ *config.Source, status ledger.SlotStatus, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slots[status] += n
}

// count returns how many slots have each status, and that the rest of what must
// always hold does: every slot of the schedule has a row, and one end.
func (b *bundle) count(t *testing.T, every time.Duration) map[string]int {
	t.Helper()
	var gaps int
	require.NoError(t, b.db.QueryRow(t.Context(), `
		select count(*) from (select slot_at - lag(slot_at) over (order by slot_at) as step from candu_test.loader_slots) s
		where step <> $1::interval`, every).Scan(&gaps))
	require.Zero(t, gaps, "slots that have no row")
	counts := map[string]int{}
	for _, s := range b.slots(t) {
		status, _, _ := strings.Cut(s, ":")
		status, _, hasRun := strings.Cut(status, " ")
		counts[status]++
		require.Equal(t, status == "ran" || status == "caught_up", hasRun, s)
	}
	require.Zero(t, counts["running"])
	return counts
}

// once runs what is due of the one source.
func once(t *testing.T, s *scheduler.Scheduler) *loader.Summary {
	t.Helper()
	results := s.Once(t.Context())
	require.Len(t, results, 1)
	require.NoError(t, results[0].Err)
	return results[0].Summary
}

func fault(f fakesegment.Fault) fakesegment.Faults {
	return fakesegment.Faults{Faults: []fakesegment.Fault{f}}
}

// next waits for the end of the next run.
func (w *watcher) next(t *testing.T) ended {
	t.Helper()
	return loadertest.Receive(t, w.ended, "a run to end")
}

// finish ends the slots of schedulers that were stopped, perhaps in the middle of a run.
func (b *bundle) finish(t *testing.T) {
	t.Helper()
	s, _ := b.scheduler(t)
	once(t, s)
}

func TestRun_EverySecond(t *testing.T) {
	t.Parallel()
	b := setup(t, `  schedule: "@every 1s"`)
	s, w := b.scheduler(t)
	stop := serve(t, s)
	for range 4 {
		require.NoError(t, w.next(t).err)
	}
	stop()
	b.finish(t)
	counts := b.count(t, time.Second)
	require.GreaterOrEqual(t, counts["ran"]+counts["caught_up"], 4, "%v", b.slots(t))
	require.EqualValues(t, 500, b.fake.Stats().Accepted)
	require.Zero(t, b.fake.Stats().Duplicates)
}

func TestOnce_FirstTime(t *testing.T) {
	t.Parallel()
	b := setup(t, `  schedule: "@hourly"`)
	s, w := b.scheduler(t)
	summary := once(t, s)
	require.EqualValues(t, 500, summary.Sent)
	require.Equal(t, 1, w.slots[ledger.SlotCaughtUp]+w.slots[ledger.SlotRan])
	require.Nil(t, once(t, s), "the next slot is not due")
}

func TestOnce_CatchesUp(t *testing.T) {
	t.Parallel()
	b := setup(t, "  schedule: \"@every 1h\"\n  catch_up: 5h30m")
	s, _ := b.scheduler(t)
	b.since(t, "@every 1h UTC", 10*time.Hour)
	once(t, s)
	counts := b.count(t, time.Hour)
	require.Equal(t, 10, counts["missed"]+counts["caught_up"]+counts["ran"], "%v", b.slots(t))
	require.InDelta(t, 5, counts["missed"], 1)
	require.Contains(t, b.slots(t)[0], "catch_up is 5h30m")
	var runs int
	require.NoError(t, b.db.QueryRow(t.Context(), "select count(distinct run_id) from candu_test.loader_slots").Scan(&runs))
	require.Equal(t, 1, runs, "several missed slots become one run")
}

// A slot whose loader died is taken over, and a run that it left behind does not hold it up.
func TestRun_TakesOver(t *testing.T) {
	t.Parallel()
	b := setup(t, `  schedule: "@every 6h"`)
	s, w := b.scheduler(t)
	b.since(t, "@every 6h UTC", 0)
	b.exec(t, `insert into candu_test.loader_slots (slot_at, status, holder, held_until)
		values (date_trunc('hour', now()) - interval '1 hour', 'running', 'dead', clock_timestamp() - interval '1 second')`)
	serve(t, s)
	require.NoError(t, w.next(t).err)
	loadertest.Eventually(t, func() bool { return strings.HasPrefix(b.slots(t)[0], "caught_up run 1") }, "the slot ends")
}

// What is due while the run before is under way is skipped, and says why.
func TestRun_SkipsOverlap(t *testing.T) {
	t.Parallel()
	b := setup(t, `  schedule: "@every 1s"`)
	b.fake.SetFaults(fault(fakesegment.Fault{Kind: fakesegment.Status, Status: 503}))
	s, w := b.scheduler(t)
	b.since(t, "@every 1s UTC", 0)
	stop := serve(t, s)
	loadertest.Eventually(t, func() bool { return strings.Contains(strings.Join(b.slots(t), "\n"), "skipped_overlap") }, "a slot to be skipped")
	b.fake.SetFaults(fakesegment.Faults{})
	require.NoError(t, w.next(t).err)
	stop()
	b.finish(t)
	counts := b.count(t, time.Second)
	require.GreaterOrEqual(t, counts["skipped_overlap"], 1, "%v", b.slots(t))
	require.Contains(t, strings.Join(b.slots(t), "\n"), "was still running")
}

// A run that fails is tried again before the next slot.
func TestRun_TriesAgain(t *testing.T) {
	t.Parallel()
	b := setup(t, `  schedule: "@every 24h"`)
	b.exec(t, "alter table candu_interactions rename to away")
	s, w := b.scheduler(t)
	s.SetRetry(200 * time.Millisecond)
	b.since(t, "@every 24h UTC", 24*time.Hour)
	serve(t, s)
	first := w.next(t)
	require.Error(t, first.err)
	require.False(t, first.retry.IsZero())
	b.exec(t, "alter table away rename to candu_interactions")
	e := w.next(t)
	for e.err != nil {
		e = w.next(t)
	}
	require.EqualValues(t, 500, e.summary.Sent)
	loadertest.Eventually(t, func() bool { return strings.Contains(b.slots(t)[0], " run ") }, "the slot ends")
	require.Contains(t, b.log.String(), "retry_in")
	require.Contains(t, b.log.String(), "hint=")
}

// While nothing helps, a slot ends when the next one comes.
func TestRun_GivesWay(t *testing.T) {
	t.Parallel()
	b := setup(t, `  schedule: "@every 1s"`)
	b.exec(t, "alter table candu_interactions rename to away")
	s, w := b.scheduler(t)
	stop := serve(t, s)
	require.Error(t, w.next(t).err)
	loadertest.Eventually(t, func() bool { return strings.Count(strings.Join(b.slots(t), "\n"), "missed") >= 2 }, "two slots to be missed")
	stop()
	b.exec(t, "alter table away rename to candu_interactions")
	b.finish(t)
	counts := b.count(t, time.Second)
	require.GreaterOrEqual(t, counts["missed"], 2, "%v", b.slots(t))
	require.Contains(t, b.slots(t)[0], "candu_interactions")
	require.EqualValues(t, 500, b.fake.Stats().Accepted)
}

func TestRun_Deadline(t *testing.T) {
	t.Parallel()
	b := setup(t, "  schedule: \"@every 24h\"\n  run_deadline: 5s")
	b.fake.SetFaults(fault(fakesegment.Fault{Kind: fakesegment.Status, Status: 503}))
	s, w := b.scheduler(t)
	b.since(t, "@every 24h UTC", 24*time.Hour)
	serve(t, s)
	e := w.next(t)
	require.ErrorContains(t, e.err, "run_deadline passed after 5s")
	require.True(t, e.retry.IsZero(), "it would take as long again")
	loadertest.Eventually(t, func() bool { return strings.Contains(b.slots(t)[0], "run 1: ") }, "the slot ends")
	require.Contains(t, b.slots(t)[0], "run_deadline passed")
}

// A stop in the middle leaves the slot to the next loader, which ends it.
func TestRun_Interrupted(t *testing.T) {
	t.Parallel()
	b := setup(t, `  schedule: "@every 24h"`)
	b.fake.SetFaults(fault(fakesegment.Fault{Kind: fakesegment.Status, Status: 503}))
	s, w := b.scheduler(t)
	b.since(t, "@every 24h UTC", 24*time.Hour)
	stop := serve(t, s)
	loadertest.Eventually(t, func() bool { return b.fake.Stats().Requests > 0 }, "a request")
	stop()
	require.Error(t, w.next(t).err)
	require.Contains(t, b.slots(t)[0], "running run 1: interrupted")
	b.fake.SetFaults(fakesegment.Faults{})
	s2, _ := b.scheduler(t)
	require.EqualValues(t, 500, once(t, s2).Sent)
	counts := b.count(t, 24*time.Hour)
	require.Equal(t, 1, counts["caught_up"]+counts["ran"])
}

// Slots of the schedule before are accounted for when it is changed.
func TestRun_ScheduleChanged(t *testing.T) {
	t.Parallel()
	b := setup(t, `  schedule: "@every 1s"`)
	s, w := b.scheduler(t)
	b.since(t, "@every 1h Europe/Berlin", 3*time.Hour)
	stop := serve(t, s)
	require.NoError(t, w.next(t).err)
	require.NoError(t, w.next(t).err)
	stop()
	var hourly int
	require.NoError(t, b.db.QueryRow(t.Context(), `
		select count(*) from candu_test.loader_slots
		where slot_at = date_trunc('hour', slot_at) and status in ('ran', 'caught_up')`).Scan(&hourly))
	require.GreaterOrEqual(t, hourly, 3, "%v", b.slots(t))
	require.Contains(t, b.log.String(), "the schedule was changed")
}

// A database that is away at the start is waited for.
func TestRun_DatabaseAway(t *testing.T) {
	t.Parallel()
	b := setup(t, `  schedule: "@every 1s"`)
	other := loadertest.Database(t)
	b.source += "\n  interactions: {url: \"" + b.url + "\"}"
	export := b.url
	b.url = other
	s, w := b.scheduler(t)
	name := other[strings.LastIndex(other, "/t_")+1 : strings.Index(other, "?")]
	_, err := b.db.Exec(t.Context(), "alter database "+name+" rename to "+name+"_x")
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = b.db.Exec(context.Background(), "drop database if exists "+name+"_x with (force)")
	})
	serve(t, s)
	loadertest.Eventually(t, func() bool { return strings.Contains(b.log.String(), "does not exist") }, "the trouble is told")
	_, err = b.db.Exec(t.Context(), "alter database "+name+"_x rename to "+name)
	require.NoError(t, err)
	require.NoError(t, w.next(t).err)
	b.url = export
}
