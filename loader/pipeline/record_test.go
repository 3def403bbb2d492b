package pipeline

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// collector runs collect on pages that the test sends, and gives the groups that it fills.
type collector struct {
	sent        chan *parcel
	full, empty chan *group
	places      chan struct{}
	pages       int
}

func collecting(t *testing.T) *collector {
	t.Helper()
	c := &collector{
		sent: make(chan *parcel), full: make(chan *group), empty: make(chan *group, groupsInFlight), places: make(chan struct{}, 1000),
	}
	for range groupsInFlight {
		c.empty <- &group{}
	}
	go New(Config{Intake: NewIntake(IntakeConfig{})}).collect(c.places, c.sent, c.empty, c.full)
	return c
}

// offer offers pages with one reject each, and returns how many were taken before nothing moved
// any more.
func (c *collector) offer(n int) int {
	for taken := range n {
		page := &Classified{Page: &source.Page{}, Rejected: []ledger.Rejected{{InteractionID: strconv.Itoa(c.pages)}}}
		c.places <- struct{}{}
		synctest.Wait()
		select {
		case c.sent <- &parcel{Classified: page}:
			c.pages++
		default:
			return taken
		}
	}
	return n
}

// A crash sends again at most what is in flight: the group that is written, the one that is
// filled, and the pages before.
func TestCollect_FillsOneGroupWhileAnotherIsWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := collecting(t)
		require.Equal(t, pagesInGroup, c.offer(100), "nobody writes")
		writing := <-c.full
		require.Equal(t, pagesInGroup, writing.pages)
		require.Equal(t, pagesInGroup, c.offer(100), "the next group is filled meanwhile")
		writing.pages = 0
		c.empty <- writing
		require.Equal(t, pagesInGroup, (<-c.full).pages)
		require.Equal(t, 1, c.offer(1))
		close(c.sent)
		require.Equal(t, 1, (<-c.full).pages, "the last group, whatever it has")
		_, more := <-c.full
		require.False(t, more)
	})
}

func TestCollect_WaitsASecondForOtherPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := collecting(t)
		began := time.Now()
		require.Equal(t, 2, c.offer(2))
		require.Equal(t, 2, (<-c.full).pages)
		require.Equal(t, groupWait, time.Since(began))
		close(c.sent)
		require.Zero(t, (<-c.full).pages)
	})
}
