package loader

import "time"

// Hurry makes a loader take turns quickly.
func Hurry(l *Loader, patience time.Duration) {
	l.turns = turns{look: time.Nanosecond, patience: patience, poll: 10 * time.Millisecond}
}
