package loader_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Wherever late rows come to lie among those that are read again, alone or many, fit to be
// sent or not, each is found, once.
func TestRun_FindsLateRowsAmongDelivered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 30d\npage_size: 5\nmax_rejected: 100%"})
	w.plain(t)
	// The same rows in every run of the test.
	random := rand.New(rand.NewPCG(1, 2))
	begin := time.Now().Add(-10 * 24 * time.Hour).Truncate(time.Second)
	rows, bad := 0, int64(0)
	for round, late := range []int{120, 0, 1, 1, 2, 3, 5, 8, 30, 0, 60} {
		var sent, rejected int64
		for range late {
			// Of each second there are several.
			w.insert(t, rows, begin.Add(time.Duration(random.IntN(100))*time.Second))
			if sent++; random.IntN(8) == 0 {
				w.exec(t, "update candu_interactions set user_id = null where id = $1", rows)
				sent, rejected = sent-1, rejected+1
			}
			rows++
		}
		summary := w.run(t)
		require.Equal(t, sent, summary.Sent, "round %d", round)
		require.Equal(t, rejected, summary.Rejected, "round %d", round)
		require.EqualValues(t, rows, summary.RowsRead, "round %d", round)
		require.Equal(t, int64(rows)-sent-rejected-bad, summary.AlreadyDelivered, "round %d", round)
		require.Equal(t, bad, summary.RejectedBefore, "round %d", round)
		bad += rejected
	}
	w.settled(t, "candu_interactions", "id")
}
