package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/scheduler"
)

// sourcesAtOnce is how many sources run side by side; memory grows with each.
const sourcesAtOnce = scheduler.RunsAtOnce

func (a *app) buildRunCmd() *cobra.Command {
	var opts loader.RunOptions
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "run [NICKNAME...]",
		Short: "Load what came since the watermark, once",
		Long: `Loads what came since the watermark, once, for the sources named or for all. Makes or
upgrades the schema first where that is needed. One source's trouble does not
stop the others.

What a run recorded stays, however it ends; the next one goes on from there.`,
		Example: `  candu-loader run
  candu-loader run Candu_Prod --limit 1000
  candu-loader run --json`,
		RunE: a.with(func(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
			if dryRun {
				return a.previewRuns(ctx, l, sources, opts)
			}
			return a.run(ctx, l, sources, opts)
		}),
	}
	cmd.Flags().IntVar(&opts.Limit, "limit", 0, "end after that many rows that are new; 0 = no limit")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be sent, and send and write nothing")
	return cmd
}

func (a *app) previewRuns(ctx context.Context, l *loader.Loader, sources []*config.Source, opts loader.RunOptions) error {
	var errs []error
	for _, src := range sources {
		preview, err := l.PreviewRun(ctx, src, opts)
		errs = append(errs, a.preview(preview, err))
	}
	return errors.Join(errs...)
}

// runResult is a source's part of run --json.
type runResult struct {
	loader.Summary
	Error *jsonError `json:"error"`
}

func (a *app) run(ctx context.Context, l *loader.Loader, sources []*config.Source, opts loader.RunOptions) error {
	if opts.Limit < 0 {
		return usage("--limit %d: expected 0 or more", opts.Limit)
	}
	limitMemory(len(sources))
	a.openProgress(ctx, l)
	results := make([]runResult, len(sources))
	errs := make([]error, len(sources))
	var group errgroup.Group
	group.SetLimit(sourcesAtOnce)
	var mu sync.Mutex
	for i, src := range sources {
		group.Go(func() error {
			mine := opts
			show := a.show(src.Nickname)
			mine.Progress = show.update
			summary, err := l.Run(ctx, src, mine)
			show.end()
			mu.Lock()
			defer mu.Unlock()
			results[i] = runResult{summary, asJSON(err)}
			if err != nil && len(sources) > 1 {
				err = fmt.Errorf("source %q: %w", src.Nickname, err)
			}
			errs[i] = err
			return nil
		})
	}
	_ = group.Wait() // Its functions return nil.
	a.closeProgress()
	if a.json {
		if err := a.printJSON(map[string]any{"sources": results}); err != nil {
			return err
		}
	} else {
		for i := range results {
			a.printf("%s\n", summaryLine(results[i].Summary))
		}
	}
	return errors.Join(errs...)
}

// summaryLine is a run in one line.
func summaryLine(s loader.Summary) string {
	if s.RunID == 0 {
		return s.Source + ": not run"
	}
	line := fmt.Sprintf("%s: %s: %d rows read, %d sent, %d already delivered, %d rejected, %d batches, %d retries, %.1f s, %.0f events/s, ",
		s.Source, s.Status, s.RowsRead, s.Sent, s.AlreadyDelivered, s.Rejected, s.Batches, s.Retries, s.Seconds, s.EventsPerSecond)
	if s.LagSeconds == nil {
		return line + "not caught up yet"
	}
	return line + "lag " + human.Seconds(*s.LagSeconds)
}
