package status_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/schedule"
	"github.com/candu-loader/candu-loader/loader/status"
)

// The words of a proof say what was looked at and when, and "proved" only where the last verdict is that.
func TestRead_Proof(t *testing.T) {
	t.Parallel()
	clock := time.Date(2026, 1, 31, 9, 2, 30, 0, time.UTC)
	before := func(d time.Duration) *time.Time { return new(clock.Add(-d)) }
	const hour, day = time.Hour, 24 * time.Hour
	daily, err := schedule.Parse("@daily", time.UTC)
	require.NoError(t, err)
	proved := ledger.Proof{Verdict: ledger.Proved, CheckedAt: before(6 * hour), UpTo: before(6*hour + time.Minute), ProvedAt: before(6 * hour)}
	part, old, failed := proved, proved, proved
	part.From = before(35 * day)
	old.CheckedAt, old.UpTo = before(12*day), before(12*day+hour)
	failed.FailedAt, failed.Error = before(hour), "connecting to the export:\nrefused"
	differs := ledger.Proof{Verdict: ledger.NotProved, CheckedAt: before(hour), UpTo: before(hour), ProvedAt: before(2 * day), Differences: map[string]int64{"missing": 1_003, "sent_again": 1, "gone": 2}}
	for _, c := range []struct {
		proof              ledger.Proof
		scheduled, without string
	}{
		{ledger.Proof{}, "never proved, first verified at 1 Feb 00:00", "never proved"},
		{proved, "proved up to 03:01, checked 6 hours ago", "last proved 6 hours ago, up to 03:01"},
		{part, "proved up to 03:01, checked 6 hours ago, for what occurred since 27 Dec 2025 09:02", "last proved 6 hours ago, up to 03:01, for what occurred since 27 Dec 2025 09:02"},
		{old, "proved up to 19 Jan 08:02, checked 12 days ago", "last proved 12 days ago, up to 19 Jan 08:02"},
		{
			failed, "proved up to 03:01, checked 6 hours ago; the verification 1 hour ago came to no verdict: connecting to the export: refused",
			"last proved 6 hours ago, up to 03:01; the verification 1 hour ago came to no verdict: connecting to the export: refused",
		},
		{
			differs, "NOT proved: 2 gone, 1,003 missing, 1 sent again, checked 1 hour ago; last proved 2 days ago",
			"NOT proved: 2 gone, 1,003 missing, 1 sent again, checked 1 hour ago; last proved 2 days ago",
		},
		{ledger.Proof{Verdict: ledger.NotProved, CheckedAt: before(hour)}, "NOT proved, checked 1 hour ago", "NOT proved, checked 1 hour ago"},
		{ledger.Proof{Verdict: ledger.NothingToProve, CheckedAt: before(hour)}, "nothing to prove, checked 1 hour ago", "nothing to prove, checked 1 hour ago"},
	} {
		db := &databases{state: ledger.State{Clock: clock, Proof: c.proof}}
		s := read(t, db, status.Memory{})
		require.Equal(t, c.without, s.Proof.Sentence)
		require.Nil(t, s.Proof.NextAt)
		src := &config.Source{Nickname: "A", Location: time.UTC, Verify: config.Verify{Schedule: daily}}
		s = status.Read(t.Context(), src, db, status.Memory{}, 0)
		require.Equal(t, c.scheduled, s.Proof.Sentence)
		require.Equal(t, time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), s.Proof.NextAt.UTC())
		text, err := json.Marshal(s.Proof)
		require.NoError(t, err)
		if c.proof.Verdict != "" {
			require.Contains(t, string(text), `"verdict":"`+string(c.proof.Verdict)+`"`)
		}
	}
	require.Nil(t, read(t, &databases{stateErr: ledger.ErrNotMigrated}, status.Memory{}).Proof, "what can't be read is not known")
	require.Equal(t, map[string]int64{"missing": 0, "changed": 0, "doubled": 0, "sent_again": 0, "gone": 0}, (&status.Proof{}).ByClass())
}
