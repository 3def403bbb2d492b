// Package status knows where a source stands.
package status

import "time"

// Lag returns the seconds since a source caught up, which is what lag means everywhere: a
// source that gets no new rows is not late. nil = it never did.
func Lag(caughtUpAt *time.Time, now time.Time) *float64 {
	if caughtUpAt == nil {
		return nil
	}
	lag := max(0, now.Sub(*caughtUpAt).Seconds())
	return &lag
}
