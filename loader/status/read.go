package status

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
)

// Databases answer what is to be known of a source.
type Databases interface {
	// State reads where the source stands. A schema of an older version has
	// [ledger.ErrNotMigrated] as the cause.
	State(ctx context.Context) (ledger.State, error)
	// History reads what happened of late, after State.
	History(ctx context.Context) (ledger.History, error)
	// Waiting counts about how many rows of the export the watermark has not reached.
	Waiting(ctx context.Context, state ledger.State) (int64, error)
}

// Memory is what a process knows of a source that it runs and no table tells. The zero value is
// that of a process that runs nothing.
type Memory struct {
	// Err is why the last attempt at a run failed, FailingSince when the first one did since the
	// last that succeeded.
	Err          error
	FailingSince time.Time
	// RetryAt is when it is tried again; the zero time = it is not.
	RetryAt time.Time
	// AwaySince is since when the databases can't be asked; the zero time = they could be.
	AwaySince time.Time
	// CaughtUpAt is when a run last caught up, by this process's clock, as far as the databases told
	// before they could not be asked any more; nil = they did not.
	CaughtUpAt *time.Time
	// Expected is about how many rows the scheduled run under way has to read.
	Expected int64
	// Waiting is what was counted last. It is shown for a minute, for counting asks the export.
	Waiting Waiting
}

// aheadFrom is from when on a watermark counts as one in the future: the clocks of export and
// warehouse need not agree to the second.
const aheadFrom = time.Minute

// by returns the memory with its moments by a clock that is ahead of this machine's: what the
// databases tell is compared with them.
func (m Memory) by(ahead time.Duration) Memory {
	if ahead == 0 {
		return m
	}
	now := time.Now()
	for _, at := range []*time.Time{&m.FailingSince, &m.RetryAt, &m.AwaySince} {
		if !at.IsZero() {
			// Both have a monotonic reading, so a clock that was set meanwhile counts for nothing.
			*at = now.Round(0).Add(ahead + at.Sub(now))
		}
	}
	return m
}

// waitingFor is for how long the number of rows that wait is shown.
const waitingFor = time.Minute

// Read asks for everything about one source. What keeps it from asking is the source's Failure,
// and its Err. lagOver is the lag from which on a source is late; 0 = it never is.
func Read(ctx context.Context, src *config.Source, db Databases, memory Memory, lagOver time.Duration) Source {
	s := Source{
		Nickname: src.Nickname, Schema: src.Schema, Timezone: src.Location.String(),
		// In JSON an empty list is [], not null.
		Running: []Run{}, LastRuns: []Run{}, Rejects: []ledger.RejectsOfReason{}, Slots: []ledger.Slot{},
	}
	s.At = time.Now()
	history, ahead, err := s.ask(ctx, db, memory)
	memory = memory.by(ahead)
	if src.Schedule != nil {
		s.Schedule, s.NextSlot = src.Schedule.Text(), new(src.Schedule.Next(s.At))
	}
	if memory.RetryAt.After(s.At) {
		s.RetryAt = &memory.RetryAt
	}
	s.Err, s.Failure = err, failure(history, memory)
	if err != nil {
		s.Failure = &Failure{Since: cmp.Or(memory.AwaySince, s.At), Error: err.Error(), Hint: fault.HintOf(err)}
	}
	if !s.Migrated {
		// What can't be read goes on growing old.
		s.CaughtUpAt, s.LagSeconds = memory.CaughtUpAt, Lag(memory.CaughtUpAt, s.At)
	}
	if s.Proof != nil {
		if verify := src.Verify.Schedule; verify != nil {
			s.Proof.Schedule, s.Proof.NextAt = verify.Text(), new(verify.Next(s.At))
		}
		s.Proof.Sentence = (&teller{now: s.At, loc: src.Location}).proof(s.Proof)
	}
	s.State = s.state(lagOver)
	s.Sentence = Sentence(&s, s.At)
	return s
}

// ask asks the databases. ahead is how far the warehouse's clock is ahead of this machine's.
func (s *Source) ask(ctx context.Context, db Databases, memory Memory) (history ledger.History, ahead time.Duration, err error) {
	state, err := db.State(ctx)
	if errors.Is(err, ledger.ErrNotMigrated) {
		return history, 0, nil
	}
	if err != nil {
		return history, 0, err
	}
	if !state.Clock.IsZero() {
		s.At, ahead = state.Clock, time.Until(state.Clock)
	}
	now := s.At
	if at := state.WatermarkAt; at != nil && at.Sub(now) > aheadFrom {
		s.WatermarkAheadSeconds = new(at.Sub(now).Seconds())
	}
	s.Migrated, s.SchemaVersion, s.MessageNamespace = true, state.Version, state.MessageNamespace.String()
	s.WatermarkAt, s.WatermarkID, s.WatermarkAgeSeconds = state.WatermarkAt, state.WatermarkID, age(state.WatermarkAt, now)
	s.CaughtUpAt, s.LagSeconds = state.CaughtUpAt, Lag(state.CaughtUpAt, now)
	s.CompleteUntil, s.HeldBackBy, s.Announced = state.CompleteUntil, state.HeldBack, state.Alerts

	s.Proof = &Proof{Proof: state.Proof}

	if c := state.Configs; c.Alternate(now) {
		s.ConfigAlternates = c.Words()
	}
	if history, err = db.History(ctx); err != nil {
		return history, ahead, err
	}
	for _, r := range history.Running {
		run := runOf(r, now)
		if r.Kind == ledger.Scheduled {
			run.Expected = memory.Expected
		}
		s.Running = append(s.Running, run)
	}
	for _, r := range history.Recent {
		s.LastRuns = append(s.LastRuns, runOf(r, now))
	}
	if history.LastSuccess != nil {
		s.LastSuccess = new(runOf(*history.LastSuccess, now))
	}
	s.Rejects, s.Slots = append(s.Rejects, history.Rejects...), append(s.Slots, history.Slots...)

	if s.Waiting = memory.Waiting; time.Since(s.CountedAt) > waitingFor {
		s.Waiting = Waiting{CountedAt: time.Now()}
		if n, err := db.Waiting(ctx, state); err == nil {
			s.WaitingRows = &n
		} else {
			s.WaitingError = err.Error() // It keeps the next run from running, too, and is the failure then.
		}
	}
	return history, ahead, nil
}

func runOf(r ledger.RunRecord, now time.Time) Run {
	run := Run{RunRecord: r}
	end := now
	if r.FinishedAt != nil {
		end = *r.FinishedAt
	}
	if run.Seconds = end.Sub(r.StartedAt).Seconds(); run.Seconds > 0 {
		run.EventsPerSecond = float64(r.Sent) / run.Seconds
	}
	return run
}

// failure says since when and why runs fail, nil if the last one did not. What the process
// remembers, such as an error that kept a run from beginning, counts only if nobody has
// succeeded since.
func failure(h ledger.History, memory Memory) *Failure {
	var f *Failure
	if h.Failing != nil {
		f = &Failure{Since: h.Failing.Since, Error: h.Failing.Error}
	}
	succeeded := h.LastSuccess != nil && h.LastSuccess.FinishedAt != nil && h.LastSuccess.FinishedAt.After(memory.FailingSince)
	if memory.Err == nil || succeeded {
		return f
	}
	since := memory.FailingSince
	if f != nil && f.Since.Before(since) {
		since = f.Since
	}
	return &Failure{Since: since, Error: memory.Err.Error(), Hint: fault.HintOf(memory.Err)}
}

func (s *Source) state(lagOver time.Duration) State {
	switch {
	case s.Failure != nil:
		return Failing
	case lagOver > 0 && s.LagSeconds != nil && *s.LagSeconds > lagOver.Seconds():
		return Late
	case len(s.Running) > 0:
		return Running
	case len(s.LastRuns) > 0:
		return Fresh
	}
	return New
}
