package scheduler_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/scheduler"
)

// yearly verifies when a test says that it is due, and not again.
const yearly = `  verify: {schedule: "@yearly", last: 36500d}`

// due says that a slot of verify.schedule has passed.
func (b *bundle) due(t *testing.T) {
	t.Helper()
	b.exec(t, `update candu_test.loader_state set verify_slot = clock_timestamp() - interval '400 days'`)
}

func (b *bundle) is(t *testing.T, condition string) (is bool) {
	t.Helper()
	require.NoError(t, b.db.QueryRow(t.Context(), "select coalesce(("+condition+"), false) from candu_test.loader_state").Scan(&is), condition)
	return is
}

// hold locks a table until release is called.
func (b *bundle) hold(t *testing.T, table string) (release func()) {
	t.Helper()
	tx, err := b.db.Begin(t.Context())
	require.NoError(t, err)
	release = sync.OnceFunc(func() { _ = tx.Rollback(context.Background()) })
	t.Cleanup(release)
	_, err = tx.Exec(t.Context(), "lock table "+table+" in access exclusive mode")
	require.NoError(t, err)
	return release
}

// waiting is how many wait for a table.
func (b *bundle) waiting(t *testing.T, table string) (n int) {
	t.Helper()
	require.NoError(t, b.db.QueryRow(t.Context(), "select count(*) from pg_locks where not granted and relation = $1::text::regclass", table).Scan(&n))
	return n
}

// Several replicas look at the same moment, and one verifies. What has passed is made up for once.
func TestVerify_OneOfSeveralReplicas(t *testing.T) {
	t.Parallel()
	b := setup(t, yearly)
	var replicas []*scheduler.Scheduler
	for range 3 {
		s, _ := b.scheduler(t)
		replicas = append(replicas, s)
	}
	b.due(t)
	release := b.hold(t, "candu_test.loader_state")
	for _, s := range replicas {
		serve(t, s)
	}
	loadertest.Eventually(t, func() bool { return b.waiting(t, "candu_test.loader_state") == 3 }, "all of them to look")
	release()
	loadertest.Eventually(t, func() bool { return b.is(t, "proof ->> 'verdict' = 'nothing to prove' and verify_holder is null") }, "a verdict")
	require.True(t, b.is(t, "verify_slot > clock_timestamp() - interval '1 hour'"))
	require.Equal(t, 1, strings.Count(b.log.String(), "msg=verifying"))
}

// A verification reads what a run reads, and does not begin beside one, whoever runs it.
func TestVerify_NotBesideARun(t *testing.T) {
	t.Parallel()
	for _, lease := range []string{"run", "backfill"} {
		b := setup(t, yearly)
		s, _ := b.scheduler(t)
		b.due(t)
		b.exec(t, `insert into candu_test.loader_leases (name, holder, token, acquired_at, expires_at)
			values ($1, 'another', 7, clock_timestamp(), clock_timestamp() + interval '5 seconds')`, lease)
		serve(t, s)
		loadertest.Eventually(t, func() bool { return b.is(t, "proof is not null") }, "a verdict")
		require.True(t, b.is(t, "(proof ->> 'checked_at')::timestamptz >= (select max(expires_at) from candu_test.loader_leases)"))
	}
}

// Where both are due at the same time, the run goes first.
func TestVerify_BehindTheRunOfItsSlot(t *testing.T) {
	t.Parallel()
	b := setup(t, "  schedule: \"@every 1h\"\n"+yearly)
	s, w := b.scheduler(t)
	s.Behind(8 * time.Second)
	b.since(t, "@every 1h UTC", 2*time.Hour)
	b.due(t)
	release := b.hold(t, "candu_interactions")
	serve(t, s)
	loadertest.Eventually(t, func() bool { return b.waiting(t, "candu_interactions") > 0 }, "the run to read the export")
	require.True(t, b.is(t, "verify_holder is null and exists (select from candu_test.loader_leases)"))
	release()
	require.NoError(t, w.next(t).err)
	loadertest.Eventually(t, func() bool { return b.is(t, "proof is not null") }, "a verdict")
	require.True(t, b.is(t, "proof ->> 'verdict' = 'proved' and (proof ->> 'checked_at')::timestamptz > (select min(finished_at) from candu_test.loader_runs)"))
}

// It may take hours, and ends at once: what it was about to do is left to whoever looks next.
func TestVerify_EndsAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, yearly)
	s, _ := b.scheduler(t)
	b.due(t)
	release := b.hold(t, "candu_interactions")
	stop := serve(t, s)
	loadertest.Eventually(t, func() bool { return b.waiting(t, "candu_interactions") > 0 }, "the verification to read the export")
	require.True(t, b.is(t, "verify_holder is not null and verify_held_until > clock_timestamp()"))
	before := time.Now()
	stop()
	require.Less(t, time.Since(before), 20*time.Second, "the lock is held for ever")
	require.True(t, b.is(t, "verify_holder is null and proof is null and verify_slot < clock_timestamp() - interval '300 days'"), "it is still due, and no verdict")
	release()
	next, _ := b.scheduler(t)
	serve(t, next)
	loadertest.Eventually(t, func() bool { return b.is(t, "proof ->> 'verdict' is not null") }, "the next one to verify")
}

// A replica that died verifying is followed by another, and one that was only paused ends.
func TestVerify_TakenOver(t *testing.T) {
	t.Parallel()
	b := setup(t, yearly)
	s, _ := b.scheduler(t)
	b.due(t)
	b.exec(t, `update candu_test.loader_state set verify_holder = 'the dead', verify_held_until = clock_timestamp() - interval '1 second'`)
	serve(t, s)
	loadertest.Eventually(t, func() bool { return b.is(t, "proof is not null and verify_holder is null") }, "a verdict")

	b = setup(t, yearly)
	s, _ = b.scheduler(t)
	b.due(t)
	release := b.hold(t, "candu_interactions")
	serve(t, s)
	loadertest.Eventually(t, func() bool { return b.is(t, "verify_holder is not null") }, "a verification")
	b.exec(t, `update candu_test.loader_state set verify_holder = 'another'`)
	loadertest.Eventually(t, func() bool { return strings.Contains(b.log.String(), "another loader verifies by now") }, "it to end")
	release()
	require.True(t, b.is(t, "verify_holder = 'another'"), "the other one's turn is left alone")
}

// Slots count from the first look: who asks for the night does not want it at noon.
func TestVerify_NotBeforeItsTime(t *testing.T) {
	t.Parallel()
	b := setup(t, yearly)
	s, _ := b.scheduler(t)
	var once sync.Once
	serve(t, s)
	loadertest.Eventually(t, func() bool {
		seen := b.is(t, "verify_slot is not null")
		// A place in the future was written by a clock that was put back.
		once.Do(func() {
			b.exec(t, "update candu_test.loader_state set verify_slot = clock_timestamp() + interval '9 years'")
		})
		return seen && b.is(t, "verify_slot <= clock_timestamp()")
	}, "it to look")
	require.True(t, b.is(t, "proof is null and verify_holder is null"))
}
