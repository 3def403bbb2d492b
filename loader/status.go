package loader

import (
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/pages"
	"github.com/candu-loader/candu-loader/loader/segment"
	"github.com/candu-loader/candu-loader/loader/status"
)

// Status reads where a source stands, see [status.Read]. It writes nothing.
func (l *Loader) Status(ctx context.Context, src *config.Source, memory status.Memory) status.Source {
	return status.Read(ctx, src, &databases{loader: l, src: src}, memory, l.config.Alerts.LagOver)
}

// databases implements [status.Databases].
type databases struct {
	loader *Loader
	src    *config.Source
	book   *ledger.Ledger
}

func (d *databases) State(ctx context.Context) (state ledger.State, err error) {
	d.book, state, err = d.loader.migrated(ctx, d.src)
	return state, err
}

func (d *databases) History(ctx context.Context) (ledger.History, error) { return d.book.History(ctx) }

func (d *databases) Waiting(ctx context.Context, state ledger.State) (int64, error) {
	export, err := d.loader.source(ctx, d.src)
	if err != nil {
		return 0, err
	}
	defer export.Close()
	return export.Count(ctx, pages.Watermark(state))
}

// Slots returns the accounting of a source's slots for a holder, see [ledger.Holder].
func (l *Loader) Slots(ctx context.Context, src *config.Source, holder string) (*ledger.Slots, error) {
	book, err := l.ledger(ctx, src)
	if err != nil {
		return nil, err
	}
	return book.Slots(holder), nil
}

// Days counts the mirrored events of [from, to) by day, see [ledger.Ledger.Days].
func (l *Loader) Days(ctx context.Context, src *config.Source, from, to time.Time) ([]ledger.Day, error) {
	book, err := l.ledger(ctx, src)
	if err != nil {
		return nil, err
	}
	return book.Days(ctx, from, to)
}

// Announce stores what is announced of a source if nobody did since before was read; false =
// somebody did.
func (l *Loader) Announce(ctx context.Context, src *config.Source, before, after []byte) (bool, error) {
	book, err := l.ledger(ctx, src)
	if err != nil {
		return false, err
	}
	return book.SwapAlerts(ctx, before, after)
}

// Stats are the numbers of the requests to Segment so far.
func (l *Loader) Stats() segment.Stats { return l.gateway.Stats() }
