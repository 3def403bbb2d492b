package serve

import "time"

// Sources are looked at more often than usual, and away is told soon.
func init() { alertEvery, awayFor = 300*time.Millisecond, time.Second }
