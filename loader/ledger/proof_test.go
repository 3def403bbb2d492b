package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/ledger"
)

// What may be called proved, and what ends a difference.
func TestProof_Next(t *testing.T) {
	t.Parallel()
	const last = 35 * 24 * time.Hour
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	ago := func(days int) *time.Time { return new(now.AddDate(0, 0, -days)) }
	verified := func(verdict ledger.Verdict, from *time.Time) ledger.Verified {
		v := ledger.Verified{At: now, Verdict: verdict, From: from, UpTo: &now}
		if verdict == ledger.NotProved {
			v.Differences = map[string]int64{"missing": 3}
		}
		return v
	}
	within := func(v ledger.Verified, to *time.Time) ledger.Verified { v.To = to; return v }
	quick := func(v ledger.Verified) ledger.Verified { v.Quick = true; return v }
	fresh := ledger.Proof{}
	proved := ledger.Proof{Verdict: ledger.Proved, CheckedAt: ago(1), From: ago(36), UpTo: ago(1), ProvedAt: ago(1)}
	differs := ledger.Proof{Verdict: ledger.NotProved, CheckedAt: ago(1), From: ago(36), UpTo: ago(1), ProvedAt: ago(12), Differences: map[string]int64{"missing": 3}}
	everywhere, later := differs, proved
	everywhere.From = nil
	later.CheckedAt = new(now.Add(time.Minute))

	for what, c := range map[string]struct {
		before ledger.Proof
		v      ledger.Verified
		now    time.Time
		want   ledger.Verdict
		counts bool
	}{
		"everything":                                {fresh, verified(ledger.Proved, nil), now, ledger.Proved, true},
		"what the schedule asks for":                {fresh, verified(ledger.Proved, ago(35)), now, ledger.Proved, true},
		"nothing was there":                         {proved, verified(ledger.NothingToProve, nil), now, ledger.NothingToProve, true},
		"less than the schedule asks for":           {fresh, verified(ledger.Proved, ago(34)), now, "", false},
		"nothing in less than that":                 {fresh, verified(ledger.NothingToProve, ago(34)), now, "", false},
		"not up to the watermark":                   {fresh, within(verified(ledger.Proved, nil), ago(1)), now, "", false},
		"contents were not compared":                {fresh, quick(verified(ledger.Proved, nil)), now, "", false},
		"a difference":                              {proved, verified(ledger.NotProved, ago(35)), now, ledger.NotProved, true},
		"a difference in a day":                     {proved, within(verified(ledger.NotProved, ago(400)), ago(399)), now, ledger.NotProved, true},
		"a difference of ids":                       {proved, quick(verified(ledger.NotProved, ago(1))), now, ledger.NotProved, true},
		"a difference of ids beside another":        {differs, quick(verified(ledger.NotProved, nil)), now, ledger.NotProved, false},
		"what begins after the difference":          {differs, verified(ledger.Proved, ago(35)), now, ledger.NotProved, false},
		"nothing after the difference":              {differs, verified(ledger.NothingToProve, ago(35)), now, ledger.NotProved, false},
		"what begins after one found everywhere":    {everywhere, verified(ledger.Proved, ago(36)), now, ledger.NotProved, false},
		"what begins where the difference was":      {differs, verified(ledger.Proved, ago(36)), now, ledger.Proved, true},
		"everything after a difference":             {everywhere, verified(ledger.Proved, nil), now, ledger.Proved, true},
		"a difference beside one that covers more":  {everywhere, verified(ledger.NotProved, ago(1)), now, ledger.NotProved, false},
		"a proof that began before the last one":    {later, verified(ledger.Proved, nil), now.Add(time.Hour), ledger.Proved, false},
		"a difference older than the last proof":    {later, verified(ledger.NotProved, ago(35)), now.Add(time.Hour), ledger.Proved, false},
		"an older one that looked at more":          {later, verified(ledger.NotProved, nil), now.Add(time.Hour), ledger.NotProved, true},
		"a clock that ran ahead when it was proved": {ledger.Proof{Verdict: ledger.Proved, CheckedAt: ago(-9), UpTo: ago(-9)}, verified(ledger.NotProved, nil), now, ledger.NotProved, true},
	} {
		next, changed := c.before.Next(c.v, c.now, last)
		require.Equal(t, c.want, next.Verdict, what)
		require.Equal(t, c.counts, changed, what)
	}
	next, _ := proved.Next(verified(ledger.NotProved, nil), now, last)
	require.Equal(t, ago(1), next.ProvedAt, "when it was last proved stays")

	failed := proved.Failed(now, errors.New("the export is away"))
	require.Equal(t, ledger.Proved, failed.Verdict, "no verdict changes none")
	require.Equal(t, "the export is away", failed.Error)
	next, _ = failed.Next(verified(ledger.Proved, nil), now, last)
	require.Empty(t, next.Error)
	require.Nil(t, next.FailedAt)
}
