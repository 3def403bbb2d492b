package scheduler

import (
	"time"

	"github.com/candu-loader/candu-loader/loader"
)

// SetRetry makes the first wait after a run that failed short.
func (s *Scheduler) SetRetry(wait time.Duration) { s.retry = wait }

// Loader returns the scheduler's loader.
func (s *Scheduler) Loader() *loader.Loader { return s.loader }
