// Package statuspage renders the status page: what an operator looks at over the first
// coffee. It is given a View and asks nothing itself.
package statuspage

import (
	"time"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/status"
)

// View is what the status page shows, and what /api/status answers as JSON.
type View struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	// Trouble concerns the whole process: a config that was refused, for example.
	Trouble []status.Failure `json:"trouble"`
	Sources []Source         `json:"sources"`
}

// Source is one source.
type Source struct {
	status.Source
	// Days are the last 30 days in UTC, the oldest first, days without events too; empty if they
	// were not counted yet.
	Days []ledger.Day `json:"days"`
	// DaysAsOf is when they were counted, nil if they are as they are now.
	DaysAsOf *time.Time `json:"days_as_of"`
}
