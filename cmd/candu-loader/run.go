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
	var opts loader.RunsOptions
	var maxRejected string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "run [NICKNAME...]",
		Short: "Load what came since the watermark, once",
		Long: `Loads what came since the watermark, once, for the sources named or for all. Upgrades a
schema of an older version first; where there is none, it is an error. One source's
trouble does not stop the others.

What a run recorded stays, however it ends; the next one goes on from there.`,
		Example: `  candu-loader run
  candu-loader run Candu_Prod --limit 1000
  candu-loader run Candu_Prod --max-rejected 100%
  candu-loader run --json`,
		RunE: a.with(func(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
			var err error
			if opts.MaxRejected, err = a.parseMaxRejected(maxRejected); err != nil {
				return err
			}
			if opts.Limit < 0 {
				return a.usage("--limit %d: expected 0 or more", opts.Limit)
			}
			if opts.NewExport && (dryRun || len(sources) > 1) {
				return a.usage("--new-export is about one source, and begins anew: name it, and leave out --dry-run")
			}
			if dryRun {
				return a.previewRuns(ctx, l, sources, opts)
			}
			return a.run(ctx, l, sources, opts)
		}),
	}
	cmd.Flags().IntVar(&opts.Limit, "limit", 0, "end after that many rows that are new; 0 = no limit")
	cmd.Flags().StringVar(&maxRejected, "max-rejected", "", maxRejectedUsage)
	cmd.Flags().BoolVar(&opts.First, "first", false, "make the schema where there is none, as migrate does; not for a schedule")
	cmd.Flags().BoolVar(&opts.NewExport, "new-export", false, "the export is another one on purpose: read it from where the first run began")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be sent, and send and write nothing")
	return cmd
}

func (a *app) previewRuns(ctx context.Context, l *loader.Loader, sources []*config.Source, opts loader.RunsOptions) error {
	var errs []error
	for _, src := range sources {
		preview, err := l.PreviewRun(ctx, src, loader.RunOptions{Limit: opts.Limit, MaxRejected: opts.MaxRejected})
		errs = append(errs, a.preview(preview, named(src.Nickname, sources, err)))
	}
	return errors.Join(errs...)
}

const maxRejectedUsage = "share of the new rows, or number, that may be rejected, instead of the source's max_rejected; 100% lets all pass"

// parseMaxRejected reads --max-rejected; nil if it was not given.
func (a *app) parseMaxRejected(text string) (*config.MaxRejected, error) {
	if text == "" {
		return nil, nil
	}
	allowed, err := config.ParseMaxRejected(text)
	if err != nil {
		return nil, a.usage("--max-rejected %s", err)
	}
	return &allowed, nil
}

// runResult is a source's part of run --json.
type runResult struct {
	loader.Summary
	Error *jsonError `json:"error"`
}

func (a *app) run(ctx context.Context, l *loader.Loader, sources []*config.Source, opts loader.RunsOptions) error {
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
	if s.RowsLeft > 0 {
		before += fmt.Sprintf(" %d left to the next run,", s.RowsLeft)
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
