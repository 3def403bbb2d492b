package ledger

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func hours(n int) []time.Time {
	slots := make([]time.Time, n)
	for i := range slots {
		slots[i] = time.Date(2026, 1, 1, i, 0, 0, 0, time.UTC)
	}
	return slots
}

// Of any number of replicas that see the same slots, each slot is one's alone.
func TestSlots_AreTakenOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	slots := hours(12)
	var wait sync.WaitGroup
	taken := make([][]time.Time, 8)
	for i := range taken {
		wait.Go(func() {
			var err error
			if taken[i], err = b.ledger.Slots(Holder()).Take(t.Context(), "@hourly UTC", slots, SlotRunning, ""); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	all := slices.Concat(taken...)
	require.Len(t, all, len(slots))
	again, err := b.ledger.Slots("late").Take(t.Context(), "@hourly UTC", slots, SlotMissed, "")
	require.NoError(t, err)
	require.Empty(t, again)
	require.Equal(t, "12", b.one(t, "select count(*) from loader_slots where status = 'running'"))
}

// A slot is its holder's until that is dead; from then on the heir's alone, who alone says how it
// ended.
func TestSlots_AreAdoptedFromTheDeadAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	first, heir, third := b.ledger.Slots("first"), b.ledger.Slots("heir"), b.ledger.Slots("third")
	slots := hours(3)
	_, err := first.Take(t.Context(), "@hourly UTC", slots, SlotRunning, "")
	require.NoError(t, err)
	abandoned := func(want bool) {
		t.Helper()
		view, err := heir.Look(t.Context(), "@hourly UTC", time.Time{})
		require.NoError(t, err)
		require.Equal(t, want, view.Abandoned)
	}
	adopt := func(by *Slots, want int) {
		t.Helper()
		got, err := by.Adopt(t.Context())
		require.NoError(t, err)
		require.Len(t, got, want)
	}
	renew := func(by *Slots, want bool) {
		t.Helper()
		held, err := by.Renew(t.Context(), slots)
		require.NoError(t, err)
		require.Equal(t, want, held)
	}
	abandoned(false)
	adopt(heir, 0)
	require.NoError(t, first.End(t.Context(), SlotsEnd{Slots: slots[:1], Status: SlotRan}))
	b.exec(t, "update loader_slots set held_until = clock_timestamp() - interval '1 hour' where status = 'running'")
	slots = slots[1:]
	renew(first, true) // It was late, and nobody took them.
	adopt(heir, 0)
	b.exec(t, "update loader_slots set held_until = clock_timestamp() - interval '1 hour' where status = 'running'")
	abandoned(true)
	adopt(heir, 2)
	abandoned(false)
	adopt(third, 0)
	renew(first, false)
	require.NoError(t, first.End(t.Context(), SlotsEnd{Slots: slots, Status: SlotMissed}))
	require.NoError(t, first.Release(t.Context(), slots, nil, ""))
	adopt(third, 0)
	renew(heir, true)
	require.NoError(t, heir.End(t.Context(), SlotsEnd{Slots: slots, Status: SlotCaughtUp}))
	require.NoError(t, heir.End(t.Context(), SlotsEnd{Slots: slots, Status: SlotMissed}))
	require.Equal(t, "ran,caught_up,caught_up", b.one(t, "select string_agg(status, ',' order by slot_at) from loader_slots"))
}

// Who lets slots go leaves them to whoever looks next.
func TestSlots_AreReleased(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	first, heir := b.ledger.Slots("first"), b.ledger.Slots("heir")
	_, err := first.Take(t.Context(), "@hourly UTC", hours(2), SlotRunning, "")
	require.NoError(t, err)
	require.NoError(t, first.Release(t.Context(), hours(1), nil, "interrupted"))
	got, err := heir.Adopt(t.Context())
	require.NoError(t, err)
	require.Len(t, got, 1)
}
