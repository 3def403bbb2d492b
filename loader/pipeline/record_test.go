package pipeline

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// A crash sends again at most what is in flight: the group that is recorded, and the pages before
// it.
func TestFill_TakesThreePagesOrWaitsASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Intake: NewIntake(IntakeConfig{})})
		sent, places := make(chan *parcel), make(chan struct{}, 100)
		go func() {
			defer close(sent)
			for n := range 11 {
				page := &Classified{Page: &source.Page{}}
				if n != 1 { // One has nothing to record, and counts for nothing.
					page.Rejected = []ledger.Rejected{{InteractionID: "x"}}
				}
				places <- struct{}{}
				sent <- &parcel{Classified: page}
				if n == 7 {
					<-time.After(groupWait + time.Millisecond)
				}
			}
		}()
		var pages []int
		var took []time.Duration
		for more := true; more; {
			g, began := &group{}, time.Now()
			more = p.fill(g, sent, places)
			pages, took = append(pages, g.pages), append(took, time.Since(began))
		}
		require.Equal(t, []int{3, 3, 1, 3, 0}, pages)
		require.Equal(t, []time.Duration{0, 0, groupWait, time.Millisecond, 0}, took)
		require.Empty(t, places)
	})
}
