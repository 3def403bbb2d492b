package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/schedule"
)

const (
	// lookEvery bounds the wait for the next slot: slots whose holder died are looked
	// for meanwhile, and a clock that jumped is noticed.
	lookEvery = 15 * time.Second
	// onTime is how late a slot may begin and still count as on time.
	onTime = time.Minute
	// atOnce is how many missed slots are recorded in one statement.
	atOnce = 10_000
	// awayMost bounds the wait while the database is away.
	awayMost = 15 * time.Second
	// tickTimeout bounds one look at the slots.
	tickTimeout = 30 * time.Second
)

// worker looks after the slots of one source.
type worker struct {
	*Scheduler
	src  *config.Source
	log  *slog.Logger
	once bool

	// begun is true once the stored schedule is the configured one.
	begun bool
	// job is under way, or nil.
	job *job
}

// loop looks again and again until ctx is done.
func (w *worker) loop(ctx context.Context) {
	away := time.Second
	var lastTrouble string
	for ctx.Err() == nil {
		wait, err := w.tick(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			wait, away = away, min(2*away, awayMost)
			// Once for each trouble, not for each look.
			if text := err.Error(); text != lastTrouble {
				lastTrouble = text
				w.log.Error("retrying: the slots could not be read", fault.Attrs(err)...)
			}
		} else {
			if lastTrouble != "" {
				w.log.Info("slots can be read again")
			}
			lastTrouble, away = "", time.Second
		}
		w.sleep(ctx, wait)
	}
	if w.job != nil {
		<-w.job.done
	}
}

// sleep waits, but not longer than for the end of the job.
func (w *worker) sleep(ctx context.Context, wait time.Duration) {
	var done <-chan struct{}
	if w.job != nil {
		done = w.job.done
	}
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	case <-done:
		w.job = nil
	}
}

// onceThrough dispatches what is due and waits for it.
func (w *worker) onceThrough(ctx context.Context) (*loader.Summary, error) {
	for {
		wait, err := w.tick(ctx)
		if err != nil {
			return nil, err
		}
		if wait > 0 {
			break
		}
	}
	if w.job == nil {
		return nil, nil
	}
	<-w.job.done
	return w.job.summary, w.job.err
}

// tick looks at the slots once, dispatches those that are due, and returns how long
// to wait for the next.
func (w *worker) tick(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	looking, cancel := context.WithTimeout(ctx, tickTimeout)
	defer cancel()
	book, view, err := w.look(looking)
	if err != nil {
		return 0, err
	}
	if !w.begun {
		if err := w.begin(ctx, looking, book, &view); err != nil {
			return 0, err
		}
		w.begun = true
	}
	var adopted []time.Time
	if view.Abandoned && w.job == nil {
		claiming, cancel := claim(looking)
		defer cancel()
		if adopted, err = book.Adopt(claiming); err != nil {
			return 0, err
		}
	}
	more, err := w.dispatch(ctx, looking, book, w.src.Schedule, view, adopted)
	if err != nil || more {
		return 0, err
	}
	next := w.src.Schedule.Next(view.Now)
	return max(0, min(next.Sub(view.Now), lookEvery)-time.Since(began)) + time.Millisecond, nil
}

// look reads the slots, after a migration if the schema is of an older version.
func (w *worker) look(ctx context.Context) (*ledger.Slots, ledger.SlotsView, error) {
	book, err := w.loader.Slots(ctx, w.src, w.holder)
	if err != nil {
		return nil, ledger.SlotsView{}, err
	}
	view, err := book.Look(ctx)
	if errors.Is(err, ledger.ErrNotMigrated) {
		if _, err := w.loader.Migrate(ctx, w.src, ledger.MigrateOptions{}); err != nil {
			return nil, view, err
		}
		view, err = book.Look(ctx)
	}
	return book, view, err
}

// begin makes the configured schedule the one by which slots are counted. Slots of
// another schedule before it are dispatched first.
func (w *worker) begin(ctx, looking context.Context, book *ledger.Slots, view *ledger.SlotsView) error {
	mine := w.src.Schedule.String()
	if view.Schedule != nil && *view.Schedule == mine {
		return nil
	}
	since := view.Now
	switch {
	case view.Schedule != nil:
		if err := w.dispatchBefore(ctx, looking, book, view); err != nil {
			return err
		}
		since = view.Now
		w.log.Info("the schedule was changed", "before", *view.Schedule, "now", mine)
	case w.once:
		since = w.lastSlot(view.Now)
	}
	if err := book.Begin(looking, view.Schedule, mine, since); err != nil {
		return err
	}
	view.Settled = since
	return nil
}

// dispatchBefore dispatches what is due of the schedule by which slots were counted so far.
func (w *worker) dispatchBefore(ctx, looking context.Context, book *ledger.Slots, view *ledger.SlotsView) error {
	before, err := schedule.Restore(*view.Schedule)
	if err != nil {
		w.log.Warn("the previous schedule can't be read; its slots since the last recorded one are not accounted for", "error", err)
		return nil
	}
	for {
		more, err := w.dispatch(ctx, looking, book, before, *view, nil)
		if err != nil || !more {
			return err
		}
		if *view, err = book.Look(looking); err != nil {
			return err
		}
	}
}

// lastSlot returns the moment before the last slot within catch_up, or now.
func (w *worker) lastSlot(now time.Time) time.Time {
	last := now
	for slot := w.src.Schedule.Next(now.Add(-w.src.CatchUp)); !slot.IsZero() && !slot.After(now); slot = w.src.Schedule.Next(slot) {
		last = slot.Add(-time.Second)
	}
	return last
}

// dispatch records all slots that are due, and begins a job for those that are ours
// to run. more is true if there are too many to record at once.
func (w *worker) dispatch(
	ctx, looking context.Context, book *ledger.Slots, s *schedule.Schedule, view ledger.SlotsView, adopted []time.Time,
) (more bool, err error) {
	missed, due := w.due(s, view)
	if len(missed) > 0 {
		note := fmt.Sprintf("nobody took it in time: catch_up is %s", w.src.CatchUp)
		if err := w.take(looking, book, missed, ledger.SlotMissed, note); err != nil {
			return false, err
		}
		if more = len(missed) == atOnce; more {
			due = nil
		}
	}
	if len(due) > 0 && w.job != nil {
		if !w.job.giveWay() {
			return false, w.take(looking, book, due, ledger.SlotSkippedOverlap, w.job.describe())
		}
		<-w.job.done
		w.job = nil
	}
	if len(due) > 0 {
		claiming, cancel := claim(looking)
		defer cancel()
		if due, err = book.Take(claiming, due, ledger.SlotRunning, ""); err != nil {
			return false, err
		}
	}
	return more, w.start(ctx, looking, book, append(adopted, due...), view.Now)
}

// claim outlives a shutdown: an answer that is not awaited would leave slots that are ours and
// that nobody runs until they are taken over.
func claim(looking context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(looking), postgres.ConnectTimeout)
}

// due returns the slots up to now that have no row: those that are too old to be
// caught up with, and the others.
func (w *worker) due(s *schedule.Schedule, view ledger.SlotsView) (missed, due []time.Time) {
	for slot := s.Next(view.Settled); !slot.IsZero() && !slot.After(view.Now); slot = s.Next(slot) {
		switch {
		case !w.tooLate(slot, view.Now):
			due = append(due, slot)
		case len(missed) == atOnce:
			return missed, nil
		default:
			missed = append(missed, slot)
		}
	}
	return missed, due
}

func (w *worker) tooLate(slot, now time.Time) bool {
	return now.Sub(slot) > max(w.src.CatchUp, onTime)
}

// take records slots that nobody runs.
func (w *worker) take(ctx context.Context, book *ledger.Slots, slots []time.Time, status ledger.SlotStatus, note string) error {
	taken, err := book.Take(ctx, slots, status, note)
	if err != nil || len(taken) == 0 {
		return err
	}
	w.watch.Slots(w.src, status, len(taken))
	w.log.Warn("slots passed without a run", "slots", len(taken), "status", status, "first", taken[0].UTC(), "reason", note)
	return nil
}

// start begins a job for slots that are ours, if there are any.
func (w *worker) start(ctx, looking context.Context, book *ledger.Slots, slots []time.Time, now time.Time) error {
	old := slices.DeleteFunc(slices.Clone(slots), func(slot time.Time) bool { return !w.tooLate(slot, now) })
	fresh := slices.DeleteFunc(slots, func(slot time.Time) bool { return w.tooLate(slot, now) })
	if len(old) > 0 {
		note := "its loader died without finishing, and nobody took it over within catch_up"
		if err := book.End(looking, ledger.SlotsEnd{Slots: old, Status: ledger.SlotMissed, Note: note}); err != nil {
			return err
		}
		w.watch.Slots(w.src, ledger.SlotMissed, len(old))
	}
	if len(fresh) > 0 {
		w.job = newJob(w, book, fresh, now)
		go w.job.do(ctx)
	}
	return nil
}
