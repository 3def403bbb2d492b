// Package alert tells people of changes: a source that began to fail or works again,
// that is late, that rejects rows, that missed slots, that is not proved.
//
// What to tell is decided by [Next], which is pure: it compares what is seen now with
// what was told before, the [State], and answers with the notices that are due. The
// caller keeps the state, one for each source, where every replica finds it. A replica
// that comes later, or a process that starts anew, so tells nothing twice, and still
// tells that what was announced before it began is over.
package alert

import (
	"maps"
	"slices"
	"time"

	"github.com/candu-loader/candu-loader/loader/status"
)

// Observation is what can be seen of a source at a moment.
type Observation struct {
	// Source is its nickname.
	Source string
	At     time.Time
	// Failure is nil if the last run that ended did not fail, or there was none. A run
	// that a signal ended early did not fail.
	Failure *status.Failure
	// Lag is nil if it is not known.
	Lag *time.Duration
	// Rejects counts the rows that are rejected now, by reason; nil if it is not known.
	Rejects map[string]int64
	// Missed are the latest slots that did not become a run, in any order. Those that were
	// announced already may be among them.
	Missed []Missed
	// Proof is what verifications found, nil if it is not known.
	Proof *status.Proof
}

// Missed is a slot that did not become a run.
type Missed struct {
	Slot time.Time
	// Why in a few words: "the run before was still under way".
	Why string
}

// State is what was told of a source. Its zero value is a source of which nothing was.
type State struct {
	// FailingSince and LateSince are set while a source was announced as such.
	FailingSince *time.Time `json:"failing_since,omitempty"`
	LateSince    *time.Time `json:"late_since,omitempty"`
	// Rejects are the counts that are known to the readers; RejectsAt is when they were
	// told last.
	Rejects   map[string]int64 `json:"rejects,omitempty"`
	RejectsAt *time.Time       `json:"rejects_at,omitempty"`
	// MissedUntil is the latest slot that was told of; MissedAt is when.
	MissedUntil *time.Time `json:"missed_until,omitempty"`
	MissedAt    *time.Time `json:"missed_at,omitempty"`
	// NotProvedSince is set while a source was announced as not proved, with these Differences.
	NotProvedSince *time.Time       `json:"not_proved_since,omitempty"`
	Differences    map[string]int64 `json:"differences,omitempty"`
}

// How far apart notices are while more and more rows are rejected and slots missed; the later
// one tells of all since the one before. The first ones, and a reason that is new, are told at
// once.
const (
	rejectsEvery = 24 * time.Hour
	missedEvery  = time.Hour
)

// caughtUpAt is the part of lagOver to which the lag must fall before a source has
// caught up: one that hovers about the limit would change its state with every run.
const caughtUpAt = 0.9

// looks are the parts of Next. Each changes fields of the state that no other does, and
// replaces them, so that a copy of the state is one to go back to.
var looks = []func(*State, Observation, time.Duration) *Notice{lookAtFailure, lookAtLag, lookAtRejects, lookAtMissed, lookAtProof}

// Next returns the state after an observation, and what is to be told because of it. lagOver is
// the lag from which on a source is late; 0 = it never is. Next
// changes neither of its arguments. Keep the new state only once its notices are on their
// way, as [Sender.Observe] does; if they are not, the next observation brings them again.
func Next(s State, o Observation, lagOver time.Duration) (State, []Notice) {
	var notices []Notice
	next := each(s, o, lagOver, func(n Notice) bool {
		notices = append(notices, n)
		return true
	})
	return next, notices
}

// each tells the notices one by one. What tell could not tell leaves the state as it was,
// and so do the notices after it, which would not fare better.
func each(s State, o Observation, lagOver time.Duration, tell func(Notice) bool) State {
	told := true
	for _, look := range looks {
		changed := s
		if n := look(&changed, o, lagOver); n != nil {
			n.Source, n.At = o.Source, o.At
			if told = told && tell(*n); !told {
				continue
			}
		}
		s = changed
	}
	return s
}

// lookAtFailure ignores a later Since: a run that succeeded unseen between two that
// failed is not worth two notices.
func lookAtFailure(s *State, o Observation, _ time.Duration) *Notice {
	switch {
	case o.Failure != nil && s.FailingSince == nil:
		s.FailingSince = new(o.Failure.Since)
		return failing(o)
	case o.Failure == nil && s.FailingSince != nil:
		since := *s.FailingSince
		s.FailingSince = nil
		return recovered(o, since)
	}
	return nil
}

func lookAtLag(s *State, o Observation, lagOver time.Duration) *Notice {
	if lagOver <= 0 {
		if s.LateSince == nil {
			return nil
		}
		// An incident that was opened must be closed.
		s.LateSince = nil
		return unwatched(o)
	}
	if o.Lag == nil {
		return nil
	}
	switch {
	case s.LateSince == nil && *o.Lag > lagOver:
		s.LateSince = new(o.At.Add(lagOver - *o.Lag))
		return late(o, *s.LateSince, lagOver)
	case s.LateSince != nil && float64(*o.Lag) <= caughtUpAt*float64(lagOver):
		since := *s.LateSince
		s.LateSince = nil
		return caughtUp(o, since)
	}
	return nil
}

func lookAtRejects(s *State, o Observation, _ time.Duration) *Notice {
	if o.Rejects == nil {
		return nil
	}
	// A row that was mended and is rejected once more counts as new.
	known := map[string]int64{}
	fresh := map[string]int64{}
	first := false
	for reason, count := range o.Rejects {
		if count <= 0 {
			continue
		}
		before := s.Rejects[reason]
		if before > 0 {
			known[reason] = min(before, count)
		}
		if count > before {
			fresh[reason] = count - before
			first = first || before == 0
		}
	}
	if len(fresh) == 0 || (!first && !due(s.RejectsAt, o.At, rejectsEvery)) {
		if s.Rejects = known; len(known) == 0 {
			s.Rejects = nil // Its JSON stays {}.
		}
		return nil
	}
	since := s.RejectsAt
	for reason, count := range fresh {
		known[reason] += count
	}
	s.Rejects, s.RejectsAt = known, &o.At
	return rejected(o, fresh, since)
}

func lookAtMissed(s *State, o Observation, _ time.Duration) *Notice {
	fresh := slices.DeleteFunc(slices.Clone(o.Missed), func(m Missed) bool {
		return s.MissedUntil != nil && !m.Slot.After(*s.MissedUntil)
	})
	if len(fresh) == 0 || !due(s.MissedAt, o.At, missedEvery) {
		return nil
	}
	slices.SortFunc(fresh, func(a, b Missed) int { return a.Slot.Compare(b.Slot) })
	s.MissedUntil, s.MissedAt = new(fresh[len(fresh)-1].Slot), &o.At
	return missed(o, fresh)
}

// lookAtProof tells of a difference, and again when it is another one. Only a verdict ends it: nobody knows what
// was not looked at.
func lookAtProof(s *State, o Observation, _ time.Duration) *Notice {
	switch p := o.Proof; {
	case p == nil || p.Verdict == "":
		return nil
	case p.NotProved() && (s.NotProvedSince == nil || !maps.Equal(s.Differences, p.Failing())):
		if s.NotProvedSince == nil {
			s.NotProvedSince = &o.At
		}
		s.Differences = p.Failing()
		return notProved(o)
	case !p.NotProved() && s.NotProvedSince != nil:
		since := *s.NotProvedSince
		s.NotProvedSince, s.Differences = nil, nil
		return provedAgain(o, since)
	}
	return nil
}

// due tells whether every has passed since the last notice.
func due(last *time.Time, now time.Time, every time.Duration) bool {
	return last == nil || now.Sub(*last) >= every
}
