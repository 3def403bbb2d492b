package pages

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// Config says what an [Incremental] reads.
type Config struct {
	Export *source.Source
	// Answers say what was delivered of the rows that are read again; nil = every row is
	// read in full.
	Answers *ledger.Answers
	// State is where the source stands.
	State ledger.State
	// Measure is told the export's clock of each page, and when it was read; nil = nobody asks.
	Measure  func(clock, at time.Time)
	Lookback time.Duration
	// Estimate asks how many rows there are to read.
	Estimate bool
	// Again is told of a question to the warehouse that is asked again.
	Again func(err error, wait time.Duration)
	Log   *slog.Logger
}

// Incremental reads what came since the watermark, and the rows of lookback before it, up to
// the end of the export, and says how far the watermark may follow. It is the pages of a
// run, and not safe for concurrent use, but for Expected.
type Incremental struct {
	config   Config
	mark     *watermark
	scan     *lookbackScan // nil = every row is read in full.
	cursor   source.Cursor
	expected atomic.Int64
	done     bool
	// asked is when the last page was asked for.
	asked  time.Time
	warned map[string]bool
	// again notices rows that this run has read; looked is true once one was looked at twice.
	again  repeats
	looked bool
}

// NewIncremental decides where to read from. An export with ids that stand twice is a
// [fault.Precondition]; rows that no page will hold are warned of.
func NewIncremental(ctx context.Context, c Config) (*Incremental, error) {
	state := c.State
	p := &Incremental{config: c, mark: &watermark{place: Watermark(state)}, cursor: Start(state, c.Lookback), warned: map[string]bool{}}
	p.mark.onward = p.cursor.ID != nil
	if state.WatermarkAt != nil && c.Answers != nil {
		p.scan = &lookbackScan{
			source: c.Export, ledger: c.Answers, namespaces: append([]uuid.UUID{state.MessageNamespace}, state.Originals...),
			until: *state.WatermarkAt, again: c.Again,
		}
	}
	switch err := c.Export.CheckUnique(ctx, p.cursor); {
	case errors.Is(err, source.ErrTooSlow):
		c.Log.Warn("whether ids are unique can't be told in time: an id that comes twice is noticed within a page alone", "remedy", c.Export.Table().UniqueStatement())
	case err != nil:
		return nil, err
	}
	switch n, err := c.Export.WithoutID(ctx, p.cursor); {
	case errors.Is(err, source.ErrTooSlow):
		c.Log.Warn("whether there are rows without id can't be told in time: such rows are never read")
	case err != nil:
		return nil, err
	case n > 0:
		c.Log.Warn("rows without id are never read", "rows", n, "remedy", "set id in the export")
	}
	unreadable, err := c.Export.Unreadable(ctx)
	if err != nil {
		return nil, err
	}
	if unreadable > 0 {
		c.Log.Warn("rows without exported_at are never read", "rows", unreadable, "remedy", "set exported_at in the export")
	}
	computed, err := c.Export.Computed(ctx)
	if err != nil {
		return nil, err
	}
	if len(computed) > 0 {
		c.Log.Warn("the view computes what may give a row another id, and then it is sent again as another event; whether the id is made of it can't be told",
			"functions", strings.Join(computed, ", "), "remedy", "take the key of the table behind the view as id")
	}
	c.Log.Debug("reading begins", "from", p.cursor.String())
	return p, nil
}

// Expected returns about how many rows there are to read, 0 if it is not known.
func (p *Incremental) Expected() int64 { return p.expected.Load() }

// Reached returns what holds once all pages are recorded, nil if the end of the export was not
// reached.
func (p *Incremental) Reached() *ledger.Reached {
	if !p.done {
		return nil
	}
	return &ledger.Reached{At: p.asked, CompleteUntil: p.mark.completeUntil(), HeldBack: p.mark.heldBack}
}

// Next returns the next page, nil after the last one.
func (p *Incremental) Next(ctx context.Context, number int64) (*source.Page, error) {
	if p.done {
		return nil, nil
	}
	p.asked = time.Now()
	page, err := p.scan.next(ctx, number, p.cursor)
	if err == nil && page == nil {
		page, err = p.page(ctx)
	}
	if err != nil {
		return nil, err
	}
	p.cursor, p.done = page.Next, page.Last
	if !page.Last && p.config.Estimate && p.expected.Load() == 0 {
		p.expected.Store(p.config.Export.Estimate(ctx, p.cursor) + int64(page.Read()))
	}
	return page, nil
}

// page reads a page in full, after the safe point.
func (p *Incremental) page(ctx context.Context) (*source.Page, error) {
	page, err := p.config.Export.SettledPage(ctx, p.cursor)
	if err != nil {
		return nil, err
	}
	if err := p.steady(ctx, page); err != nil {
		return nil, err
	}
	if err := p.config.Export.TimesSteady(ctx, p.cursor, page); err != nil {
		return nil, err
	}
	p.warn(ctx, page.Settled)
	if p.config.Measure != nil {
		p.config.Measure(page.Settled.Clock, page.SettledAt)
	}
	return page, nil
}

// steady refuses a page that brings again what this run has read because rows move by themselves. Of the first
// page, and of one that brings such a row, a row is looked at again.
func (p *Incremental) steady(ctx context.Context, page *source.Page) error {
	row, thrice := p.again.see(page)
	if thrice {
		return p.config.Export.Again(row.ID)
	}
	if row == nil && p.looked {
		return nil
	}
	p.looked = p.looked || len(page.Rows) > 0
	if row == nil {
		return p.config.Export.PageSteady(ctx, p.cursor, page)
	}
	return p.config.Export.Steady(ctx, page, []*event.Interaction{row}, func(ctx context.Context) (*source.Page, error) {
		return p.config.Export.Page(ctx, p.cursor)
	})
}

// Settle returns where the watermark may move once the page, and all before it, are recorded;
// nil if it stays. No reject stays without its row.
func (p *Incremental) Settle(page *source.Page) (*ledger.Watermark, []ledger.Rejected) {
	if page.Passed > 0 {
		return nil, nil // It lies before the watermark.
	}
	var mark *ledger.Watermark
	if len(page.Rows) > 0 {
		mark = p.mark.advance(page.Settled, page.Next)
	}
	if page.Last {
		p.mark.reachedEnd(page.Settled, p.config.Lookback)
	}
	return mark, nil
}

// warn says once what holds the watermark back.
func (p *Incremental) warn(ctx context.Context, point source.SafePoint) {
	once := func(text string, args ...any) {
		if !p.warned[text] {
			p.warned[text] = true
			p.config.Log.Warn(text, args...)
		}
	}
	if point.Prepared > 0 {
		once("the watermark stays where it is while a prepared transaction is open in the export's database", "prepared_transactions", point.Prepared,
			"remedy", point.EndPrepared())
	}
	if point.Visible && point.LongHeld() {
		once("a transaction in the export's database has been open for long: the watermark stays at its beginning", "pid", point.Oldest.PID,
			"role", point.Oldest.Role, "application", point.Oldest.Application, "since", point.Oldest.Since.UTC(), "remedy", point.Oldest.End())
	}
	const unseen = "late commits can't be seen and lookback is 0: rows that commit late may be missed"
	if !point.Visible && p.config.Lookback == 0 && !p.warned[unseen] {
		remedy := "set lookback"
		if point.Reason == source.NoStatsRole {
			remedy = p.config.Export.StatsGrant(ctx) + " or set lookback"
		}
		once(unseen, "reason", string(point.Reason), "remedy", remedy)
	}
}
