//go:build unix

package torture_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Wherever the command dies, no row of the person is sent afterwards, and the next one goes on.
func TestForget_Killed(t *testing.T) {
	t.Parallel()
	w := setup(t, "page_size: 200, lookback: 0s", "batch_size: 50")
	sample(t, w, 200, 1)
	w.load(t)
	for i, place := range []string{"after_remember", "after_piece", "after_mirror"} {
		somebody := fmt.Sprintf("somebody-%d", i)
		first := 1_000 + 200*i
		sample(t, w, 100, first+1)
		w.exec(t, "update candu_interactions set user_id = $1, kind = case when id % 10 = 0 then 'hover' else kind end where id > $2 and id % 2 = 0", somebody, first)
		w.load(t)
		sample(t, w, 100, first+101)
		w.exec(t, "update candu_interactions set user_id = $1 || ' ' where id > $2", somebody, first+100)
		before := w.fake.Stats().Received

		r := w.command(t, []string{"forget", "Candu", "--user-id", somebody}, "CANDU_FAILPOINT_KILL="+place+":1")
		require.Equal(t, -1, r.wait(t), "at %s: %s", place, r.output)
		w.bury(t)
		w.load(t)
		require.Equal(t, before, w.fake.Stats().Received, "killed at %s", place)
		r = w.command(t, []string{"forget", "Candu", "--user-id", somebody})
		require.Zero(t, r.wait(t), "%s", r.output)
		for _, table := range []string{"screens", "tracks", "tutorial_interaction", "loader_rejects", "loader_runs", "loader_forgotten", "loader_state"} {
			require.Zero(t, w.number(t, "select count(*) from candu."+table+" r where strpos(r::text, '"+somebody+"') > 0"), table)
		}
		require.Equal(t, "0", w.one(t, "select count(*) from candu.loader_forgotten where finished_at is null"))
		r = w.command(t, []string{"verify", "Candu"})
		require.Zero(t, r.wait(t), "%s", r.output)
	}
}
