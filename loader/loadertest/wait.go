package loadertest

import (
	"testing"
	"time"
)

// Patience is how long a test waits for what must happen: far longer than that takes on a
// machine with too much to do.
const Patience = 2 * time.Minute

// Eventually waits until is reports true, and fails with what was waited for if that takes
// longer than [Patience]. is runs in the test's own goroutine, so that it may use require.
func Eventually(tb testing.TB, is func() bool, what string, args ...any) {
	tb.Helper()
	limit := time.NewTimer(Patience)
	defer limit.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-limit.C:
			tb.Fatalf("waiting for "+what, args...)
		case <-tick.C:
		}
	}
}

// Receive waits for the next value of a channel, or its end, as [Eventually] waits.
func Receive[T any](tb testing.TB, from <-chan T, what string, args ...any) T {
	tb.Helper()
	limit := time.NewTimer(Patience)
	defer limit.Stop()
	select {
	case value := <-from:
		return value
	case <-limit.C:
		tb.Fatalf("waiting for "+what, args...)
		panic("unreachable")
	}
}
