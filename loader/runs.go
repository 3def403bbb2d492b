package loader

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader/config"
)

// RunsAtOnce is how many sources run side by side; the others wait for their turn. Each takes
// memory for a few pages.
const RunsAtOnce = 4

// RunsOptions says how to run several sources. The functions must be quick and safe for
// concurrent use; nil = nobody asks.
type RunsOptions struct {
	// First makes each schema that is not there.
	First bool
	// NewExport begins with each export of which the watermark is about another one.
	NewExport bool
	// Limit ends each run after that many rows which were new; 0 = no limit.
	Limit int
	// MaxRejected counts instead of each source's; nil = each source's.
	MaxRejected *config.MaxRejected
	// Progress is told that a source's run begins, with zeros, and then how far it is, often.
	Progress func(*config.Source, Progress)
	// Ended is told that a source's run ended.
	Ended func(*config.Source)
}

// RunResult is what became of a source's run.
type RunResult struct {
	Summary Summary
	Err     error
}

// RunAll runs sources as [Loader.Run] does, at most [RunsAtOnce] side by side, and returns a
// result for each, in their order. One source's trouble does not stop the others.
func (l *Loader) RunAll(ctx context.Context, sources []*config.Source, opts RunsOptions) []RunResult {
	results := make([]RunResult, len(sources))
	var group errgroup.Group
	group.SetLimit(RunsAtOnce)
	for i, src := range sources {
		group.Go(func() error {
			run := RunOptions{First: opts.First, NewExport: opts.NewExport, Limit: opts.Limit, MaxRejected: opts.MaxRejected}
			if opts.Progress != nil {
				run.Progress = func(p Progress) { opts.Progress(src, p) }
				opts.Progress(src, Progress{})
			}
			results[i].Summary, results[i].Err = l.Run(ctx, src, run)
			if opts.Ended != nil {
				opts.Ended(src)
			}
			return nil
		})
	}
	_ = group.Wait() // The errors are in the results.
	return results
}
