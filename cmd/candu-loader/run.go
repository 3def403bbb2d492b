package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/human"
)

func (a *app) buildRunCmd() *cobra.Command {
	var limit int
	var dryRun, first bool
	cmd := &cobra.Command{
		Use:   "run [NICKNAME...]",
		Short: "Load what came since the watermark, once",
		Long: `Loads what came since the watermark, once, for the sources named or for all. Upgrades a
schema of an older version first; where there is none, it is an error. One source's
trouble does not stop the others.

What a run recorded stays, however it ends; the next one goes on from there.`,
		Example: `  candu-loader run
  candu-loader run Candu_Prod --limit 1000
  candu-loader run --json`,
		RunE: a.with(func(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
			if dryRun {
				return a.previewRuns(ctx, l, sources, limit)
			}
			return a.run(ctx, l, sources, loader.RunsOptions{First: first, Limit: limit})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "end after that many rows that are new; 0 = no limit")
	cmd.Flags().BoolVar(&first, "first", false, "make the schema where there is none, as migrate does; not for a schedule")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be sent, and send and write nothing")
	return cmd
}

func (a *app) previewRuns(ctx context.Context, l *loader.Loader, sources []*config.Source, limit int) error {
	var errs []error
	for _, src := range sources {
		preview, err := l.PreviewRun(ctx, src, loader.RunOptions{Limit: limit})
		errs = append(errs, a.preview(preview, named(src.Nickname, sources, err)))
	}
	return errors.Join(errs...)
}

// runResult is a source's part of run --json.
type runResult struct {
	loader.Summary
	Error *jsonError `json:"error"`
}

func (a *app) run(ctx context.Context, l *loader.Loader, sources []*config.Source, opts loader.RunsOptions) error {
	if opts.Limit < 0 {
		return a.usage("--limit %d: expected 0 or more", opts.Limit)
	}
	progress := a.openProgress()
	opts.Progress, opts.Ended = progress.update, progress.end
	runs := l.RunAll(ctx, sources, opts)
	progress.close()
	var errs []error
	results := make([]runResult, len(runs))
	for i, r := range runs {
		results[i] = runResult{r.Summary, asJSON(r.Err)}
		if !a.json {
			a.printf("%s\n", summaryLine(r.Summary))
		}
		errs = append(errs, named(r.Summary.Source, sources, r.Err))
	}
	return a.conclude(results, errs)
}

// summaryLine is a run in one line.
func summaryLine(s loader.Summary) string {
	if s.RunID == 0 {
		return s.Source + ": not run"
	}
	// Numbers without separators, so that a script can read them.
	before := ""
	if s.RejectedBefore > 0 {
		before = fmt.Sprintf(" %d rejected before,", s.RejectedBefore)
	}
	line := fmt.Sprintf("%s: %s: %d %s read, %d sent, %d already delivered, %d rejected,%s %d %s, %d %s, %.1f s, %.0f events/s, ",
		s.Source, s.Status, s.RowsRead, human.Noun(s.RowsRead, "row", "rows"), s.Sent, s.AlreadyDelivered, s.Rejected, before,
		s.Batches, human.Noun(s.Batches, "batch", "batches"), s.Retries, human.Noun(s.Retries, "retry", "retries"),
		s.Seconds, s.EventsPerSecond)
	return line + lagText(s.LagSeconds)
}

func lagText(seconds *float64) string {
	if seconds == nil {
		return "not caught up yet"
	}
	return "lag " + human.Seconds(*seconds)
}
