package scheduler

import "time"

// SetRetry makes the first wait after a run that failed short.
func (s *Scheduler) SetRetry(wait time.Duration) { s.retry = wait }

// Behind has verifications begin so long after their slots.
func (s *Scheduler) Behind(d time.Duration) { s.behind = d }
