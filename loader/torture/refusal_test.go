//go:build unix

package torture_test

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
)

// refuseAll answers 400 to whatever comes after some requests, to so many of them; 0 = to all.
func (w *world) refuseAll(skip, next int) {
	w.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Status, Status: http.StatusBadRequest, Skip: skip, Next: next}}})
}

const rejects = "select count(*) from candu.loader_rejects"

// Something begins to refuse everything in the middle of a run, for good or for a while, and the
// loader is killed before, meanwhile and after: no row is rejected for it, and nobody asks on.
func TestBlanketRefusal(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 100, lookback: 0s", "batch_size: 20")
	sample(t, w, 1_000, 1)
	r := w.start(t)
	require.Zero(t, r.wait(t), "%s", r.output)
	places := []string{"", "after_send", "between_pages", "after_commit", "inside_commit", "before_end", "random"}
	codes := map[int]int{}
	rounds := times(14, 280)
	for i := range rounds {
		sample(t, w, 1_000, 1_001+1_000*i)
		next := 0
		if i%3 == 2 {
			next = 1 + w.dice.IntN(60)
		}
		place := places[i%len(places)]
		w.refuseAll(w.dice.IntN(40), next) // There are at least fifty.
		refused := w.fake.Stats().Statuses[http.StatusBadRequest]
		r := w.start(t, fmt.Sprintf("CANDU_FAILPOINT_KILL=%s:%d", place, 1+w.dice.IntN(3)))
		if place == "random" {
			r.ends(time.Duration(w.dice.IntN(200)) * time.Millisecond)
			r.signal(t, syscall.SIGKILL)
		}
		code := r.wait(t)
		codes[code]++
		switch code {
		case -1:
			w.kills++
		case 3:
			require.Contains(t, r.output.String(), "No row was rejected for it")
		default:
			require.Zero(t, code, "%s", r.output)
		}
		if next == 0 {
			require.LessOrEqual(t, int(w.fake.Stats().Statuses[http.StatusBadRequest]-refused), 50, "%s", r.output)
		}
		w.bury(t)
		w.checkWatermark(t)
		require.Zero(t, w.number(t, rejects), "round %d: %s", i, r.output)
	}
	t.Logf("runs by exit code: %v", codes)
	require.Positive(t, codes[3])
	w.fake.SetFaults(fakesegment.Faults{})
	// Beside what was in flight: what was accepted is what something is asked with that refuses.
	w.settle(t, w.kills*inFlight(100)+50*rounds)
	require.Zero(t, w.number(t, rejects))
}

// The suite bites: if it need not be accepted beside it, what is refused twice is rejected.
func TestBlanketRefusal_BitesWithoutLookingBeside(t *testing.T) {
	t.Parallel()
	w := setup(t, `page_size: 100, max_rejected: "100%"`, "batch_size: 20")
	sample(t, w, 500, 1)
	w.refuseAll(10, 0)
	r := w.start(t, "CANDU_FAILPOINT_WITHOUT=beside")
	require.Zero(t, r.wait(t), "%s", r.output)
	require.Positive(t, w.number(t, rejects), "rows must be rejected without the mechanism, or this suite proves nothing")
}
