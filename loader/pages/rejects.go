package pages

import (
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/source"
)

// Rejects are the rows of the rejects, read again from the export. Rejects whose rows are gone
// stay, with one attempt more.
type Rejects struct {
	Ledger *ledger.Ledger
	Export *source.Source
	// Reason chooses; "" means any.
	Reason string

	after *string // of the page before, nil at first
	done  bool
	gone  []ledger.Rejected
	// lost is how many there were on all pages.
	lost int
}

// rejectsTimeout bounds one try to read a page of rejects.
const rejectsTimeout = time.Minute

// Next returns the next page, nil after the last one.
func (r *Rejects) Next(ctx context.Context, _ int64) (*source.Page, error) {
	if r.done {
		return nil, nil
	}
	var rejects []ledger.Reject
	err := postgres.Retry(ctx, rejectsTimeout, nil, func(ctx context.Context) (err error) {
		rejects, err = r.Ledger.Rejects(ctx, r.after, r.Reason, ledger.RejectsPage)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.done = len(rejects) < ledger.RejectsPage
	ids := make([]string, len(rejects))
	for i := range rejects {
		ids[i] = rejects[i].InteractionID
		r.after = &ids[i]
	}
	page, err := r.Export.ByID(ctx, ids)
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
				Interaction: reject.Interaction, Attempts: reject.Attempts + 1, Gone: true,
			})
		}
	}
	r.lost += len(r.gone)
	return page, nil
}

// Gone returns how many rejects had no row in the export.
func (r *Rejects) Gone() int { return r.lost }

// Settle moves no watermark, and returns the rejects whose rows are gone.
func (r *Rejects) Settle(*source.Page) (*ledger.Watermark, []ledger.Rejected) { return nil, r.gone }
