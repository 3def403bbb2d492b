package loader

import (
	"context"
	"errors"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/source"
)

// rejectsPage is how many rejects are read at once; their rows may be wide.
const rejectsPage = 200

// Rejects calls each for every reject of a source in the order of the rows' ids;
// reason "" means any.
func (l *Loader) Rejects(ctx context.Context, src *config.Source, reason string, each func(ledger.Reject) error) error {
	book, err := l.Ledger(ctx, src)
	if err != nil {
		return err
	}
	if _, err := book.State(ctx); err != nil {
		return err
	}
	for after := ""; ; {
		page, err := book.Rejects(ctx, after, reason, rejectsPage)
		if err != nil {
			return err
		}
		for _, reject := range page {
			if err := each(reject); err != nil {
				return err
			}
			after = reject.InteractionID
		}
		if len(page) < rejectsPage {
			return nil
		}
	}
}

// RetryRejects reads the rows of the rejects again and sends those that can be
// sent now. The others stay, with one attempt more.
func (l *Loader) RetryRejects(ctx context.Context, src *config.Source, reason string) (Summary, error) {
	started := time.Now()
	summary := Summary{Source: src.Nickname, Schema: src.Schema, Kind: ledger.Retry, Status: ledger.RunFailed}
	export, err := l.Source(ctx, src)
	if err != nil {
		return summary, err
	}
	defer export.Close()
	run, err := l.openRun(ctx, src, ledger.RunOptions{Kind: ledger.Retry, Version: Version})
	if err != nil {
		return summary, err
	}
	log := l.log.With("source", src.Nickname, "run", run.ID)
	warnDead(log, run)
	hard, cancel := graceful(ctx)
	defer cancel()
	var flow *pipeline
	err = whileHeld(hard, run, func(hard context.Context) error {
		flow = l.newPipeline(src, run, export, log, src.Integrations)
		flow.reader = &rejectsReader{book: run.Ledger(), export: export, reason: reason}
		flow.sorter.hasRejects, flow.sorter.retrying = true, true
		return flow.flow(hard, ctx)
	})
	end := ledger.End{Status: status(err), Counters: flow.snapshot(), WatermarkAfter: run.State.WatermarkAt, Err: text(err)}
	err = errors.Join(err, l.finish(hard, run, end, err))
	summary.close(run, end, started)
	return summary, err
}

// rejectsReader gives the rows of the rejects as pages.
type rejectsReader struct {
	book   *ledger.Ledger
	export *source.Source
	reason string
	after  string
	done   bool
	gone   []ledger.Rejected
}

// next implements reader.
func (r *rejectsReader) next(ctx context.Context) (*source.Page, error) {
	if r.done {
		return nil, nil
	}
	var rejects []ledger.Reject
	err := postgres.Retry(ctx, recordTimeout, nil, func(ctx context.Context) (err error) {
		rejects, err = r.book.Rejects(ctx, r.after, r.reason, rejectsPage)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.done = len(rejects) < rejectsPage
	ids := make([]string, len(rejects))
	for i := range rejects {
		ids[i] = rejects[i].InteractionID
		r.after = ids[i]
	}
	page, err := r.export.ByID(ctx, ids)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for i := range page.Rows {
		found[page.Rows[i].ID] = true
	}
	r.gone = nil
	for _, reject := range rejects {
		if !found[reject.InteractionID] {
			r.gone = append(r.gone, ledger.Rejected{
				InteractionID: reject.InteractionID, Reason: event.Reason(reject.Reason), Detail: reject.Detail,
				Interaction: reject.Interaction, Attempts: reject.Attempts + 1,
			})
		}
	}
	return page, nil
}

// place implements reader: a retry does not move the watermark.
func (r *rejectsReader) place(*source.Page) *ledger.Watermark { return nil }

// missing implements missingRows: rejects whose rows are gone from the export
// stay, with one attempt more.
func (r *rejectsReader) missing() []ledger.Rejected { return r.gone }
