package serve

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/status"
	"github.com/candu-loader/candu-loader/loader/statuspage"
)

const (
	// viewFor is how long a view is shown to everybody before the databases are
	// asked again, so that many readers cost as much as one.
	viewFor = 3 * time.Second
	// pendingFor is the same for the number of rows that wait, which is asked of
	// the export.
	pendingFor = time.Minute
	// askTimeout bounds asking the databases for one source.
	askTimeout = 10 * time.Second
	// askAtOnce bounds how many sources are asked side by side.
	askAtOnce = 4

	runsShown, slotsShown, examplesShown = 20, 50, 3
)

// collector makes the view of one generation's sources.
type collector struct {
	loader *loader.Loader
	memory *memory
	// trouble is what concerns the whole process.
	trouble func() []statuspage.Trouble

	mu      sync.Mutex
	view    statuspage.View
	sources map[string]*known
}

// known is what is asked less often than a view is made.
type known struct {
	pendingAt time.Time
	pending   *int64
	days      days
	// awaySince is since when the source's state can't be read.
	awaySince time.Time
}

// away returns since when the source's state can't be read.
func (k *known) away(now time.Time) time.Time {
	if k.awaySince.IsZero() {
		k.awaySince = now
	}
	return k.awaySince
}

func newCollector(l *loader.Loader, m *memory, trouble func() []statuspage.Trouble) *collector {
	c := &collector{loader: l, memory: m, trouble: trouble, sources: map[string]*known{}}
	for _, src := range l.Config().Sources {
		c.sources[src.Nickname] = &known{}
	}
	return c
}

// View returns a view that is not older than viewFor. A database that does not answer
// while ctx allows it is trouble, and stands in the view.
func (c *collector) View(ctx context.Context) statuspage.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.view.At) < viewFor {
		return c.view
	}
	cfg := c.loader.Config()
	view := statuspage.View{Version: loader.Version, Trouble: append([]statuspage.Trouble{}, c.trouble()...), Sources: make([]statuspage.Source, len(cfg.Sources))}
	var group errgroup.Group
	group.SetLimit(askAtOnce)
	for i, src := range cfg.Sources {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			view.Sources[i] = c.source(ctx, src)
			return nil
		})
	}
	_ = group.Wait() // Trouble stands in the view.
	view.At = time.Now()
	for i := range view.Sources {
		view.Sources[i].Sentence = statuspage.Sentence(view.Sources[i], view.At)
	}
	if !errors.Is(ctx.Err(), context.Canceled) {
		c.view = view
	}
	return view
}

// source asks for everything about one source.
func (c *collector) source(ctx context.Context, src *config.Source) statuspage.Source {
	s := statuspage.Source{Nickname: src.Nickname, Schema: src.Schema, Timezone: src.Location.String(), State: statuspage.New,
		// In JSON an empty list is [], not null.
		Trouble: []statuspage.Trouble{}, Active: []statuspage.Active{}, Days: []statuspage.Day{}, Runs: []statuspage.Run{}, Slots: []statuspage.Slot{}, Rejects: []statuspage.Rejects{}}
	if src.Schedule != nil {
		next := src.Schedule.Next(time.Now())
		s.Schedule, s.NextSlot = src.Schedule.Text(), &next
	}
	k := c.sources[src.Nickname]
	err := c.fill(ctx, src, k, &s)
	if err == nil {
		k.awaySince = time.Time{}
	}
	recalled := c.memory.recall(src)
	if recalled.retryAt.After(time.Now()) {
		s.RetryAt = &recalled.retryAt
	}
	for i := range s.Active {
		if s.Active[i].Kind == string(ledger.Scheduled) {
			s.Active[i].Expected = max(s.Active[i].Expected, recalled.progress.Expected)
		}
	}
	switch {
	case err != nil:
		s.State = statuspage.Failing
		s.Trouble = append(s.Trouble, statuspage.Trouble{Text: err.Error(), Hint: fault.HintOf(err), Since: k.away(time.Now())})
	case failedSince(s.Runs, recalled, &s):
		s.State = statuspage.Failing
	case s.LagSeconds != nil && c.late(*s.LagSeconds):
		s.State = statuspage.Late
	case len(s.Active) > 0:
		s.State = statuspage.Running
	case len(s.Runs) > 0:
		s.State = statuspage.Fresh
	}
	return s
}

func (c *collector) late(lag float64) bool {
	over := c.loader.Config().Alerts.LagOver
	return over > 0 && lag > over.Seconds()
}

// fill asks the databases.
func (c *collector) fill(ctx context.Context, src *config.Source, k *known, s *statuspage.Source) error {
	book, err := c.loader.Ledger(ctx, src)
	if err != nil {
		return err
	}
	state, err := book.State(ctx)
	if errors.Is(err, ledger.ErrNotMigrated) {
		return nil // The first run makes the schema.
	}
	if err != nil {
		return err
	}
	s.WatermarkAt, s.CompleteUntil = state.WatermarkAt, state.CompleteUntil
	s.LagSeconds = status.Lag(state.CaughtUpAt, time.Now())
	if err := fillHistory(ctx, book, s); err != nil {
		return err
	}
	slots, err := book.Slots(ctx, slotsShown)
	if err != nil {
		return err
	}
	for _, slot := range slots {
		s.Slots = append(s.Slots, statuspage.Slot{
			At: slot.At, Status: string(slot.Status), RunID: slot.RunID, RunStatus: slot.RunStatus, Note: slot.Note,
		})
	}
	s.PendingRows = c.pending(ctx, src, k, state)
	s.Days = append(s.Days, k.days.get(ctx, book)...)
	return nil
}

// pending counts the rows that wait, now and then. What keeps it from counting will
// keep the next run from running, and is told then.
func (c *collector) pending(ctx context.Context, src *config.Source, k *known, state ledger.State) *int64 {
	if time.Since(k.pendingAt) < pendingFor {
		return k.pending
	}
	k.pending, k.pendingAt = nil, time.Now()
	if n, err := c.loader.Pending(ctx, src, state); err == nil {
		k.pending = &n
	}
	return k.pending
}

// fillHistory reads the runs and the rejects.
func fillHistory(ctx context.Context, book *ledger.Ledger, s *statuspage.Source) error {
	history, err := book.History(ctx, runsShown)
	if err != nil {
		return err
	}
	if history.LastSuccess != nil {
		s.LastSuccessAt = history.LastSuccess.FinishedAt
	}
	for _, r := range history.Running {
		s.Active = append(s.Active, statuspage.Active{
			ID: r.ID, Kind: string(r.Kind), StartedAt: r.StartedAt, RangeFrom: r.RangeFrom, RangeTo: r.RangeTo,
			RowsRead: r.RowsRead, Sent: r.Sent,
		})
	}
	for _, r := range history.Recent {
		s.Runs = append(s.Runs, runOf(r))
	}
	var examples []ledger.RejectExample
	if len(history.Rejects) > 0 {
		if examples, err = book.RejectExamples(ctx, examplesShown); err != nil {
			return err
		}
	}
	for _, r := range history.Rejects {
		of := statuspage.Rejects{Reason: r.Reason, Count: r.Rejects, LastSeenAt: r.LastSeenAt}
		for _, e := range examples {
			if e.Reason == r.Reason {
				of.Examples = append(of.Examples, statuspage.Reject{InteractionID: e.InteractionID, Detail: e.Detail, LastSeenAt: e.LastSeenAt})
			}
		}
		s.Rejects = append(s.Rejects, of)
	}
	return nil
}

func runOf(r ledger.RunRecord) statuspage.Run {
	run := statuspage.Run{
		ID: r.ID, Kind: string(r.Kind), Status: string(r.Status), SlotAt: r.SlotAt, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt,
		RowsRead: r.RowsRead, Sent: r.Sent, AlreadyDelivered: r.AlreadyDelivered, Rejected: r.Rejected, Retries: r.Retries, Error: r.Error,
	}
	end := time.Now()
	if r.FinishedAt != nil {
		end = *r.FinishedAt
	}
	if run.Seconds = end.Sub(r.StartedAt).Seconds(); run.Seconds > 0 {
		run.EventsPerSecond = float64(r.Sent) / run.Seconds
	}
	return run
}

// failedSince tells whether the loads of a source fail, and adds since when and why.
// What this process remembers counts only if nobody has succeeded since.
func failedSince(runs []statuspage.Run, recalled recollection, s *statuspage.Source) bool {
	var since time.Time
	var text string
	for _, r := range runs {
		if r.Kind != string(ledger.Scheduled) && r.Kind != string(ledger.Manual) {
			continue
		}
		if r.Status == "succeeded" {
			break
		}
		if r.Status == "failed" {
			since, text = r.StartedAt, cmp.Or(text, r.Error)
		}
	}
	hint := ""
	if recalled.err != nil && (s.LastSuccessAt == nil || s.LastSuccessAt.Before(recalled.failedSince)) {
		if since.IsZero() || recalled.failedSince.Before(since) {
			since = recalled.failedSince
		}
		text, hint = recalled.err.Error(), fault.HintOf(recalled.err)
	}
	if since.IsZero() {
		return false
	}
	s.Trouble = append(s.Trouble, statuspage.Trouble{Text: text, Hint: hint, Since: since})
	return true
}
