package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is known of a source changes while a verification is under way: it is recorded upon what is there then,
// and not at all if it is about something else now.
func TestKeepProof(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	began, err := b.ledger.State(t.Context())
	require.NoError(t, err)
	to := func(verdict Verdict) func(Proof, time.Time) (Proof, bool) {
		return func(before Proof, clock time.Time) (Proof, bool) {
			return Proof{Verdict: verdict, CheckedAt: &clock, UpTo: &clock, ProvedAt: before.CheckedAt}, true
		}
	}
	keep := func(change func(Proof, time.Time) (Proof, bool)) bool {
		kept, err := b.ledger.KeepProof(t.Context(), began, change)
		require.NoError(t, err)
		return kept
	}
	known := func() Proof {
		state, err := b.ledger.State(t.Context())
		require.NoError(t, err)
		return state.Proof
	}
	tries := 0
	require.True(t, keep(func(before Proof, clock time.Time) (Proof, bool) {
		if tries++; tries == 1 {
			require.True(t, keep(to(NotProved)), "another one ends meanwhile")
		}
		return to(Proved)(before, clock)
	}))
	require.Equal(t, 2, tries)
	require.Equal(t, Proved, known().Verdict)
	require.NotNil(t, known().ProvedAt, "it was made of what the other one had recorded")

	b.exec(t, "update loader_state set proof = null, proof_epoch = proof_epoch + 1")
	require.False(t, keep(to(Proved)))
	require.Equal(t, Proof{}, known())
	began, err = b.ledger.State(t.Context())
	require.NoError(t, err)
	require.False(t, keep(func(before Proof, clock time.Time) (Proof, bool) {
		b.exec(t, "update loader_state set proof_epoch = proof_epoch + 1")
		return to(Proved)(before, clock)
	}), "at the last moment")
	require.Equal(t, Proof{}, known())

	t.Log("what nobody can read is not proved")
	for _, text := range []string{`{"verdict": "proved"}`, `{"verdict": "proved", "checked_at": "2026-01-01T00:00:00Z"}`, `7`, `[]`, `{"verdict": 7}`} {
		b.exec(t, "update loader_state set proof = '"+text+"'")
		require.Equal(t, Proof{}, known(), text)
	}
}

// One of several replicas has the turn, once for each slot, and not while the source is worked on.
func TestVerifications(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	one, other := b.ledger.Verifications("one"), b.ledger.Verifications("other")
	look := func() VerificationsView {
		view, err := one.Look(t.Context())
		require.NoError(t, err)
		return view
	}
	take := func(v *Verifications, view VerificationsView) bool {
		taken, err := v.Take(t.Context(), view)
		require.NoError(t, err)
		return taken
	}
	view := look()
	require.False(t, view.Held || view.Busy)
	run := b.open(t)
	require.True(t, look().Busy)
	require.False(t, take(one, view), "a run began since it looked")
	finish(t, run, End{Status: RunSucceeded})
	require.True(t, take(one, view))
	require.True(t, look().Held)
	require.False(t, take(other, view))
	require.NoError(t, other.End(t.Context(), &view.Now))
	require.True(t, look().Held, "it is not the other's to end")
	require.NoError(t, one.End(t.Context(), &view.Now))
	require.False(t, take(other, view), "it was done since it looked")
	view = look()
	require.True(t, take(other, view))
	require.NoError(t, other.End(t.Context(), nil))
	require.Equal(t, view.Since, look().Since, "it was interrupted: the slot stays")

	require.True(t, take(one, look()))
	b.exec(t, "update loader_state set verify_held_until = clock_timestamp() - interval '1 second'")
	require.True(t, take(other, look()), "of the dead")
	held, err := one.Renew(t.Context())
	require.NoError(t, err)
	require.False(t, held)
	held, err = other.Renew(t.Context())
	require.NoError(t, err)
	require.True(t, held)
	b.exec(t, "update loader_state set verify_held_until = clock_timestamp() + interval '1 day'")
	require.False(t, look().Held, "the clock was put back")
	require.True(t, take(one, look()))
}
