package scheduler_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// gaps counts the slots of a schedule without a row, between the first and the last that it has, or
// between two that are given.
func (b *bundle) gaps(t *testing.T, schedule string, every time.Duration) (gaps, rows int) {
	t.Helper()
	require.NoError(t, b.db.QueryRow(t.Context(), `
		with mine as (select min(slot_at) as first, max(slot_at) as last from candu_test.loader_slots where schedule = $1)
		select count(*) filter (where l.slot_at is null), count(*) from mine, generate_series(mine.first, mine.last, $2::interval) as slot
		left join candu_test.loader_slots l on l.slot_at = slot`, schedule, every).Scan(&gaps, &rows))
	return gaps, rows
}

// Two machines have different schedules of a source, and each accounts for the slots of its own: what
// the other one recorded later does not settle them.
func TestRun_TwoMachinesWithDifferentSchedules(t *testing.T) {
	t.Parallel()
	b := setup(t, `  schedule: "@every 1s"`)
	one, w1 := b.scheduler(t)
	b.source = `  schedule: "@every 3s"`
	three, w3 := b.scheduler(t)
	stopOne := serve(t, one)
	require.NoError(t, w1.next(t).err)
	stopThree := serve(t, three)
	require.NoError(t, w3.next(t).err)
	for range 2 {
		// While both stand, slots of the first pass, and the other one's row comes after them.
		b.exec(t, `begin; lock table candu_test.loader_slots in access exclusive mode; select pg_sleep(3);
			insert into candu_test.loader_slots (slot_at, schedule, status, holder) values (clock_timestamp(), '@every 3s UTC', 'missed', 'x'); commit`)
		require.NoError(t, w1.next(t).err)
	}
	rows := func(schedule string) (n int) {
		require.NoError(t, b.db.QueryRow(t.Context(), "select count(*) from candu_test.loader_slots where schedule = $1 and status in ('ran', 'caught_up')", schedule).Scan(&n))
		return n
	}
	before := rows("@every 1s UTC")
	loadertest.Eventually(t, func() bool { return rows("@every 1s UTC") > before+4 }, "slots to run")
	stopOne()
	stopThree()
	b.exec(t, "delete from candu_test.loader_slots where holder = 'x'")
	gaps, n := b.gaps(t, "@every 1s UTC", time.Second)
	require.Zero(t, gaps, "%v", b.slots(t))
	require.Greater(t, n, 8)
	gaps, _ = b.gaps(t, "@every 3s UTC", 3*time.Second)
	require.Zero(t, gaps, "%v", b.slots(t))
	require.Equal(t, 1, strings.Count(b.log.String(), "another machine runs this source by another schedule"), "told once")
}

// The same of machines that look now and then, each of which puts its own schedule in place.
func TestOnce_MachinesWithDifferentSchedules(t *testing.T) {
	t.Parallel()
	b := setup(t, `  schedule: "@every 1h"`)
	hourly, _ := b.scheduler(t)
	b.since(t, "@every 30m UTC", 10*time.Hour)
	b.exec(t, `insert into candu_test.loader_slots (slot_at, schedule, status)
		select date_trunc('hour', now()) - interval '5 hours', '@every 1h UTC', 'missed'
		union all select date_trunc('hour', now()) - interval '30 minutes', '@every 30m UTC', 'missed'`)
	once(t, hourly)
	gaps, n := b.gaps(t, "@every 1h UTC", time.Hour)
	require.Zero(t, gaps, "%v", b.slots(t))
	require.GreaterOrEqual(t, n, 5)

	// A schedule that was given up for longer is none of another machine.
	b.exec(t, `delete from candu_test.loader_slots`)
	b.since(t, "@every 30m UTC", time.Minute)
	b.exec(t, `insert into candu_test.loader_slots (slot_at, schedule, status) select date_trunc('hour', now()) - interval '50 hours', '@every 1h UTC', 'missed'`)
	once(t, hourly)
	require.LessOrEqual(t, len(b.slots(t)), 3, "%v", b.slots(t))
}

// A schema that vanishes while serve runs: it says so once, and goes on when there is one, whether
// that is the same, or a new one.
func TestRun_TheSchemaVanishes(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]func(t *testing.T, b *bundle){
		"and comes back": func(t *testing.T, b *bundle) {
			t.Helper()
			b.exec(t, "alter schema elsewhere rename to candu_test")
		},
		"and is made anew": func(t *testing.T, b *bundle) {
			t.Helper()
			b.scheduler(t)
		},
		"and comes back as it was before serve began": func(t *testing.T, b *bundle) {
			t.Helper()
			b.exec(t, `alter schema elsewhere rename to candu_test; delete from candu_test.loader_slots;
				update candu_test.loader_state set slots_since = null, slots_schedule = null`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, `  schedule: "@every 1s"`)
			s, w := b.scheduler(t)
			stop := serve(t, s)
			require.NoError(t, w.next(t).err)
			b.exec(t, "alter schema candu_test rename to elsewhere")
			loadertest.Eventually(t, func() bool { return strings.Contains(b.log.String(), "the slots could not be read") }, "serve to notice")
			loadertest.Eventually(t, func() bool {
				var n int
				return b.db.QueryRow(t.Context(), "select count(*) from pg_namespace where nspname = 'candu_test'").Scan(&n) == nil && n == 0
			}, "nobody makes a schema")
			back(t, b)
			loadertest.Eventually(t, func() bool { return strings.Contains(b.log.String(), "slots can be read again") }, "serve to go on")
			var last time.Time
			ran := func() bool {
				return b.db.QueryRow(t.Context(), "select coalesce(max(slot_at), 'epoch') from candu_test.loader_slots where status = 'ran'").Scan(&last) == nil
			}
			loadertest.Eventually(t, func() bool { return ran() && time.Since(last) < time.Minute && last.Unix() > 0 }, "a slot to run")
			stop()
			// What time would do with a slot whose end could not be recorded meanwhile.
			b.exec(t, "update candu_test.loader_slots set held_until = clock_timestamp() - interval '1 second' where status = 'running'")
			b.finish(t)
			b.count(t, time.Second)
			told := 0
			for line := range strings.Lines(b.log.String()) {
				if strings.Contains(line, "the slots could not be read") && strings.Contains(line, "it is not there") {
					told++
					require.Contains(t, line, "candu-loader migrate Candu_Test")
				}
			}
			require.Equal(t, 1, told, b.log.String())
		})
	}
}

// A clock that ran ahead as slots were first counted, and was put right, keeps no slot from being due.
func TestOnce_SinceInTheFuture(t *testing.T) {
	t.Parallel()
	b := setup(t, `  schedule: "@every 1h"`)
	s, _ := b.scheduler(t)
	b.since(t, "@every 1h UTC", -5*time.Hour)
	b.exec(t, `insert into candu_test.loader_slots (slot_at, schedule, status) select date_trunc('hour', now()) - interval '3 hours', '@every 1h UTC', 'missed'`)
	once(t, s)
	require.Equal(t, 4, b.count(t, time.Hour)[string(ledger.SlotMissed)]+b.count(t, time.Hour)["caught_up"]+b.count(t, time.Hour)["ran"], "%v", b.slots(t))
}
