// Package status knows where a source stands. What it finds is what every face of the loader
// shows: the command, the status page and its JSON, metrics and alerts.
package status

import (
	"time"

	"github.com/candu-loader/candu-loader/loader/ledger"
)

// State is how a source is, in one word.
type State string

// The states of a source, the gravest first.
const (
	Failing State = "failing" // the last run failed, or nothing can be known
	Late    State = "late"    // its lag is over alerts.lag_over
	Running State = "running" // a run is under way, and the one before did not fail
	Fresh   State = "fresh"   // nothing to worry about
	New     State = "new"     // no run yet
)

// States are all, the gravest first.
var States = []State{Failing, Late, Running, Fresh, New}

// Source is where a source stands.
type Source struct {
	Nickname string `json:"source"`
	Schema   string `json:"schema"`
	State    State  `json:"state"`
	// Sentence says it in plain words: "Complete until 08:59, 3 minutes ago."
	Sentence string `json:"sentence"`
	// Failure is nil while all is well.
	Failure *Failure `json:"failure"`
	// At is when that was so, by the warehouse's clock; by this machine's if the warehouse could not be
	// asked. Ages are counted to it.
	At time.Time `json:"at"`

	// Migrated is false if the schema is not there, which is a Failure, or of an older version; then
	// nothing more is known.
	Migrated         bool   `json:"migrated"`
	SchemaVersion    int    `json:"schema_version"`
	MessageNamespace string `json:"message_namespace,omitempty"`

	// WatermarkAt and WatermarkID are the watermark. How old the newest row is that was loaded,
	// WatermarkAgeSeconds, says more about the users than about the loader.
	WatermarkAt         *time.Time `json:"watermark_at"`
	WatermarkID         *string    `json:"watermark_id"`
	WatermarkAgeSeconds *float64   `json:"watermark_age_seconds"`
	// WatermarkAheadSeconds is by how much it lies in the future, nil if it does not: the export's
	// clock ran ahead, and the next run puts the watermark back.
	WatermarkAheadSeconds *float64 `json:"watermark_ahead_seconds,omitempty"`
	// CaughtUpAt is when a run last came to the end of what it could see in the export; LagSeconds
	// is the time since then. nil = none did.
	CaughtUpAt *time.Time `json:"caught_up_at"`
	LagSeconds *float64   `json:"lag_seconds"`
	// CompleteUntil is up to where the mirror is complete as far as can be known; HeldBackBy is
	// why that lies well before CaughtUpAt, "" if it does not.
	CompleteUntil *time.Time `json:"complete_until"`
	HeldBackBy    string     `json:"held_back_by,omitempty"`
	// ConfigAlternates says that runs of two machines have different configurations of it, "" if they
	// don't.
	ConfigAlternates string `json:"config_alternates,omitempty"`
	Waiting

	// Running are the runs under way, backfills too; LastRuns the last ones, the newest first.
	Running  []Run `json:"running"`
	LastRuns []Run `json:"last_runs"`
	// LastSuccess is the last run that loaded what came since the watermark.
	LastSuccess *Run                     `json:"last_success"`
	Rejects     []ledger.RejectsOfReason `json:"rejects"`
	// Proof is what verifications found, nil while nothing can be known of it.
	Proof *Proof `json:"proof"`

	// Schedule is the cron expression, "" if serve does not run this source; Timezone is its own.
	Schedule string     `json:"schedule,omitempty"`
	Timezone string     `json:"timezone"`
	NextSlot *time.Time `json:"next_slot"`
	// RetryAt is when a run that failed is tried again.
	RetryAt *time.Time `json:"retry_at"`
	// Slots are the last ones, the newest first.
	Slots []ledger.Slot `json:"slots"`

	// Announced is what serve has announced of the source.
	Announced []byte `json:"-"`
	// Err is why the databases could not be asked, nil if they were. It is the Failure then.
	Err error `json:"-"`
}

// Waiting is about how many rows of the export are not loaded yet.
type Waiting struct {
	// WaitingRows is nil if the export could not be asked; WaitingError says why.
	WaitingRows  *int64 `json:"pending_rows"`
	WaitingError string `json:"pending_error,omitempty"`
	// CountedAt is when they were counted; the zero time = never.
	CountedAt time.Time `json:"-"`
}

// Failure is why a source is failing.
type Failure struct {
	// Since is when the first run failed after the last that did not.
	Since time.Time `json:"since"`
	// Error is why the last one failed, Hint what to do about it, "" if there is nothing to say.
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

// Run is a run that ended, or is under way.
type Run struct {
	ledger.RunRecord
	// Seconds is how long it took, or takes so far.
	Seconds float64 `json:"seconds"`
	// EventsPerSecond counts what was sent.
	EventsPerSecond float64 `json:"events_per_second"`
	// Expected is about how many rows a run under way has to read, 0 = unknown.
	Expected int64 `json:"expected,omitempty"`
}

// Location returns the source's zone; UTC if there is none of that name.
func (s *Source) Location() *time.Location {
	location, err := time.LoadLocation(s.Timezone)
	if err != nil {
		return time.UTC
	}
	return location
}

// SucceededAt returns when a run succeeded last, nil if none did.
func (s *Source) SucceededAt() *time.Time {
	if s.LastSuccess == nil {
		return nil
	}
	return s.LastSuccess.FinishedAt
}

// Lag returns the seconds since a source caught up, which is what lag means everywhere: a
// source that gets no new rows is not late. nil = it never did.
func Lag(caughtUpAt *time.Time, now time.Time) *float64 { return age(caughtUpAt, now) }

func age(t *time.Time, now time.Time) *float64 {
	if t == nil {
		return nil
	}
	return new(max(0, now.Sub(*t).Seconds()))
}
