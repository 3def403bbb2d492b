package loader

import (
	"context"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/proof"
	"github.com/candu-loader/candu-loader/loader/source"
)

// Repair verifies, sends the missing rows of the days that differ, a run of kind repair for
// each, and verifies again. If nothing is missing the first report is the last. each is
// told of every repaired day (UTC); nil = nobody asks.
//
// If a day can't be repaired the report is the one before; the days before it stay repaired.
func (l *Loader) Repair(ctx context.Context, src *config.Source, opts VerifyOptions, each func(day string, run Summary)) (proof.Report, error) {
	report, err := l.Verify(ctx, src, opts)
	if err != nil || report.Missing.Rows == 0 {
		return report, err
	}
	last := ""
	for _, d := range report.Days {
		// A day is there once for each kind of row; rows without a time have none.
		if d.Day == "" || d.Day == last {
			continue
		}
		last = d.Day
		r, err := source.Range{From: opts.From, To: opts.To}.OnDay(d.Day)
		if err != nil {
			return report, err
		}
		run, err := l.Backfill(ctx, src, BackfillOptions{From: r.From, To: r.To, Repair: true})
		if err != nil {
			return report, err
		}
		if each != nil {
			each(d.Day, run.Summary)
		}
	}
	return l.Verify(ctx, src, opts)
}
