package loader_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

func TestRepair_SendsTheDaysThatMissRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.sample(t, loadertest.Export{Rows: 2_000, Start: *day(1), End: *day(21)})
	w.run(t)
	src := w.cfg.Sources[0]
	repair := func(opts loader.VerifyOptions) (days []string, proved bool) {
		report, err := w.loader(t).Repair(t.Context(), src, opts, func(day string, run loader.Summary) {
			require.EqualValues(t, "succeeded", run.Status)
			require.NotZero(t, run.Sent)
			days = append(days, day)
		})
		require.NoError(t, err)
		return days, report.Proved
	}
	days, proved := repair(loader.VerifyOptions{})
	require.Empty(t, days, "nothing is missing")
	require.True(t, proved)

	// Views and interactions, so that a day differs in both.
	w.lose(t, `"timestamp"::date in ('2026-01-05', '2026-01-09', '2026-01-12')`)
	days, proved = repair(loader.VerifyOptions{From: day(2), To: day(10)})
	require.Equal(t, []string{"2026-01-05", "2026-01-09"}, days)
	require.True(t, proved, "of the range")
	require.False(t, w.verify(t, loader.VerifyOptions{}).Proved, "what lies beyond the range stays")
	days, proved = repair(loader.VerifyOptions{})
	require.Equal(t, []string{"2026-01-12"}, days)
	require.True(t, proved)
	require.Equal(t, "3", w.one(t, "select count(*) from candu_test.loader_runs where kind = 'repair' and status = 'succeeded'"))
}
