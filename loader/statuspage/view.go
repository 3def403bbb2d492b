// Package statuspage renders the status page: what an operator looks at over the first
// coffee. It is given a View and asks nothing itself.
package statuspage

import "time"

// View is what the status page shows, and what /api/status answers as JSON.
type View struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	// Trouble concerns the whole process: a config that was refused, for example.
	Trouble []Trouble `json:"trouble"`
	Sources []Source  `json:"sources"`
}

// Trouble is something wrong, and what to do about it.
type Trouble struct {
	Text  string    `json:"text"`
	Hint  string    `json:"hint,omitempty"`
	Since time.Time `json:"since"`
}

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

// Source is one source.
type Source struct {
	Nickname string `json:"nickname"`
	Schema   string `json:"schema"`
	State    State  `json:"state"`
	// Sentence says it in plain words: "Complete until 08:59, 3 minutes ago."
	Sentence string    `json:"sentence"`
	Trouble  []Trouble `json:"trouble"`

	WatermarkAt   *time.Time `json:"watermark_at"`
	CompleteUntil *time.Time `json:"complete_until"`
	// LagSeconds is the time since CompleteUntil, nil if there is none yet.
	LagSeconds *float64 `json:"lag_seconds"`
	// LastSuccessAt is when a run last succeeded, nil if none did.
	LastSuccessAt *time.Time `json:"last_success_at"`
	// PendingRows is about how many rows wait behind the watermark, nil = unknown.
	PendingRows *int64 `json:"pending_rows"`

	// Schedule is the cron expression, "" if serve does not run this source.
	Schedule string     `json:"schedule"`
	Timezone string     `json:"timezone"`
	NextSlot *time.Time `json:"next_slot"`
	// RetryAt is when a run that failed is tried again.
	RetryAt *time.Time `json:"retry_at"`

	// Active are the runs under way, backfills too.
	Active []Active `json:"active"`
	// Days are the last 30 days in UTC, the oldest first, days without events too;
	// empty if they could not be counted (yet).
	Days []Day `json:"days"`
	// Runs are the last runs, the newest first, 20 at most.
	Runs []Run `json:"runs"`
	// Slots are the last 50 slots, the newest first.
	Slots   []Slot    `json:"slots"`
	Rejects []Rejects `json:"rejects"`
}

// Active is a run under way.
type Active struct {
	ID        int64      `json:"id"`
	Kind      string     `json:"kind"` // scheduled, manual, backfill, repair, retry
	StartedAt time.Time  `json:"started_at"`
	RangeFrom *time.Time `json:"range_from"`
	RangeTo   *time.Time `json:"range_to"`
	RowsRead  int64      `json:"rows_read"`
	Sent      int64      `json:"sent"`
	// Expected is about how many rows it has to read, 0 = unknown.
	Expected int64 `json:"expected"`
}

// Day is what happened on one day, by the events' own time.
type Day struct {
	Date         string `json:"date"` // 2026-01-31
	Views        int64  `json:"views"`
	Interactions int64  `json:"interactions"`
}

// Run is a run that ended, or is under way.
type Run struct {
	ID               int64      `json:"id"`
	Kind             string     `json:"kind"`
	Status           string     `json:"status"` // running, succeeded, failed, interrupted
	SlotAt           *time.Time `json:"slot_at"`
	StartedAt        time.Time  `json:"started_at"`
	FinishedAt       *time.Time `json:"finished_at"`
	RowsRead         int64      `json:"rows_read"`
	Sent             int64      `json:"sent"`
	AlreadyDelivered int64      `json:"already_delivered"`
	Rejected         int64      `json:"rejected"`
	Retries          int64      `json:"retries"`
	Seconds          float64    `json:"seconds"`
	// EventsPerSecond counts what was sent.
	EventsPerSecond float64 `json:"events_per_second"`
	Error           string  `json:"error,omitempty"`
}

// Slot is one occurrence of the schedule.
type Slot struct {
	At time.Time `json:"at"`
	// Status is running, ran, caught_up, skipped_overlap or missed.
	Status string `json:"status"`
	RunID  *int64 `json:"run_id"`
	// RunStatus is the run's status, "" without a run.
	RunStatus string `json:"run_status,omitempty"`
	Note      string `json:"note,omitempty"`
}

// Rejects are the rows rejected for one reason.
type Rejects struct {
	Reason     string    `json:"reason"`
	Count      int64     `json:"count"`
	LastSeenAt time.Time `json:"last_seen_at"`
	// Examples are a few of them.
	Examples []Reject `json:"examples"`
}

// Reject is an example of a rejected row.
type Reject struct {
	InteractionID string    `json:"interaction_id"`
	Detail        string    `json:"detail"`
	LastSeenAt    time.Time `json:"last_seen_at"`
}
