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
	// besideFor is how long ago a schedule may have been in use that comes back, and still counts as
	// another machine's rather than as one that was given up.
	besideFor = 24 * time.Hour
	// tickTimeout bounds one look at the slots.
	tickTimeout = 30 * time.Second
)

// worker looks after the slots of one source.
type worker struct {
	*Scheduler
	src  *config.Source
	log  *slog.Logger
	once bool

	// begun is true once slots are counted by the configured schedule, since when.
	begun bool
	since time.Time
	// passed is the last of its slots that is known to be recorded, by whomever.
	passed time.Time
	// now is the warehouse's clock at the last look.
	now time.Time
	// other is the schedule of another machine that was told of.
	other string
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
	w.now = view.Now
	// The schema may be another one than at the last look, and the clock may have been put back.
	if !w.begun || view.Schedule == nil || view.Since == nil || view.Since.After(view.Now) {
		if view, err = w.begin(ctx, looking, book, view); err != nil {
			return 0, err
		}
	}
	w.tellOther(view)
	var adopted []time.Time
	if view.Abandoned && w.job == nil {
		claiming, cancel := claim(looking)
		defer cancel()
		if adopted, err = book.Adopt(claiming); err != nil {
			return 0, err
		}
	}
	more, err := w.dispatch(ctx, looking, book, w.src.Schedule, w.settled(view), view.Now, adopted)
	if err != nil || more {
		return 0, err
	}
	next := w.src.Schedule.Next(view.Now)
	return max(0, min(next.Sub(view.Now), lookEvery)-time.Since(began)) + time.Millisecond, nil
}

// mine is the configured schedule, as it is stored.
func (w *worker) mine() string { return w.src.Schedule.String() }

// look reads the slots, after a migration if the schema is of an older version.
func (w *worker) look(ctx context.Context) (*ledger.Slots, ledger.SlotsView, error) {
	book, err := w.loader.Slots(ctx, w.src, w.holder)
	if err != nil {
		return nil, ledger.SlotsView{}, err
	}
	view, err := book.Look(ctx, w.mine(), w.passed)
	if errors.Is(err, ledger.ErrNotMigrated) {
		if _, err := w.loader.Migrate(ctx, w.src, ledger.MigrateOptions{}); err != nil {
			return nil, view, err
		}
		view, err = book.Look(ctx, w.mine(), w.passed)
	}
	return book, view, err
}

// settled is the moment up to which all slots of the configured schedule have a row.
func (w *worker) settled(view ledger.SlotsView) time.Time {
	since := w.since
	if *view.Schedule == w.mine() {
		since = *view.Since
	}
	return later(since, view.Last)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// tellOther says once that another machine has another schedule. Each accounts for the slots of its
// own.
func (w *worker) tellOther(view ledger.SlotsView) {
	switch other := *view.Schedule; other {
	case w.mine():
		w.other = ""
	case w.other:
	default:
		w.other = other
		w.log.Warn("another machine runs this source by another schedule: give all the same configuration", "here", w.mine(), "there", other)
	}
}

// begin makes the configured schedule the one with which somebody began last. Slots of another
// schedule before it are dispatched first.
func (w *worker) begin(ctx, looking context.Context, book *ledger.Slots, view ledger.SlotsView) (ledger.SlotsView, error) {
	since := view.Now
	switch ahead := view.Since != nil && view.Since.After(view.Now); {
	case view.Schedule != nil && *view.Schedule == w.mine() && view.Since != nil && !ahead:
		w.begun, w.since = true, *view.Since
		return view, nil
	case view.Schedule != nil && *view.Schedule != w.mine():
		var err error
		if since, err = w.dispatchBefore(ctx, looking, book, *view.Schedule); err != nil {
			return view, err
		}
		if view.Last.After(since.Add(-besideFor)) {
			// It was in use a short while ago: another machine has that one, and puts it back.
			since = view.Last
		}
		w.log.Info("the schedule was changed", "before", *view.Schedule, "now", w.mine())
	case ahead && !view.Last.IsZero():
		since = view.Last
	case w.once:
		since = w.lastSlot(view.Now)
	}
	if err := book.Begin(looking, view.Schedule, w.mine(), since); err != nil {
		return view, err
	}
	w.begun, w.since = true, since
	return book.Look(looking, w.mine(), w.passed)
}

// dispatchBefore dispatches what is due of the schedule by which slots were counted so far, and
// returns until when.
func (w *worker) dispatchBefore(ctx, looking context.Context, book *ledger.Slots, text string) (time.Time, error) {
	before, err := schedule.Restore(text)
	if err != nil {
		w.log.Warn("the previous schedule can't be read; its slots since the last recorded one are not accounted for", "error", err)
	}
	for {
		view, lookErr := book.Look(looking, text, time.Time{})
		if lookErr != nil || err != nil {
			return view.Now, lookErr
		}
		settled := view.Last
		if view.Since != nil {
			settled = later(*view.Since, view.Last)
		}
		if settled.IsZero() {
			settled = view.Now
		}
		if more, err := w.dispatch(ctx, looking, book, before, settled, view.Now, nil); err != nil || !more {
			return view.Now, err
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

// dispatch records all slots of a schedule that are due, and begins a job for those that are ours
// to run. more is true if there are too many to record at once.
func (w *worker) dispatch(
	ctx, looking context.Context, book *ledger.Slots, s *schedule.Schedule, settled, now time.Time, adopted []time.Time,
) (more bool, err error) {
	missed, due := w.due(s, settled, now)
	if len(missed) > 0 {
		note := fmt.Sprintf("nobody took it in time: catch_up is %s", w.src.CatchUp)
		if err := w.take(looking, book, s, missed, ledger.SlotMissed, note); err != nil {
			return false, err
		}
		if more = len(missed) == atOnce; more {
			due = nil
		}
	}
	if len(due) > 0 && w.job != nil {
		if !w.job.giveWay() {
			return false, w.take(looking, book, s, due, ledger.SlotSkippedOverlap, w.job.describe())
		}
		<-w.job.done
		w.job = nil
	}
	if len(due) > 0 {
		claiming, cancel := claim(looking)
		defer cancel()
		all := due
		if due, err = book.Take(claiming, s.String(), due, ledger.SlotRunning, ""); err != nil {
			return false, err
		}
		w.pass(s, all)
	}
	return more, w.start(ctx, looking, book, append(adopted, due...), now)
}

// pass notes that slots are recorded.
func (w *worker) pass(s *schedule.Schedule, slots []time.Time) {
	if s == w.src.Schedule {
		w.passed = slots[len(slots)-1]
	}
}

// claim outlives a shutdown: an answer that is not awaited would leave slots that are ours and
// that nobody runs until they are taken over.
func claim(looking context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(looking), postgres.ConnectTimeout)
}

// due returns the slots up to now that have no row: those that are too old to be
// caught up with, and the others.
func (w *worker) due(s *schedule.Schedule, settled, now time.Time) (missed, due []time.Time) {
	for slot := s.Next(settled); !slot.IsZero() && !slot.After(now); slot = s.Next(slot) {
		switch {
		case !w.tooLate(slot, now):
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
func (w *worker) take(
	ctx context.Context, book *ledger.Slots, s *schedule.Schedule, slots []time.Time, status ledger.SlotStatus, note string,
) error {
	taken, err := book.Take(ctx, s.String(), slots, status, note)
	if err != nil {
		return err
	}
	w.pass(s, slots)
	if len(taken) == 0 {
		return nil
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
