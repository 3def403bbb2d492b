package loader_test

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/secret"
)

func TestRunAll_OneSourcesTroubleDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	january(t, w, 100)
	for i := range loader.RunsAtOnce {
		other := *w.cfg.Sources[0]
		other.Nickname, other.Schema = fmt.Sprintf("Other%d", i), fmt.Sprintf("other_%d", i)
		other.WriteKey += secret.String(strconv.Itoa(i))
		w.cfg.Sources = append(w.cfg.Sources, &other)
	}
	w.cfg.Sources[1].Interactions.Table.Name = "nowhere"
	var ended, told atomic.Int64
	results := w.loader(t).RunAll(t.Context(), w.cfg.Sources, loader.RunsOptions{
		First: true, Limit: 10,
		Progress: func(*config.Source, loader.Progress) { told.Add(1) },
		Ended:    func(*config.Source) { ended.Add(1) },
	})
	require.Len(t, results, len(w.cfg.Sources))
	require.EqualValues(t, len(results), ended.Load())
	require.NotZero(t, told.Load())
	for i, r := range results {
		require.Equal(t, w.cfg.Sources[i].Nickname, r.Summary.Source)
		if i == 1 {
			require.ErrorContains(t, r.Err, "nowhere")
			continue
		}
		require.NoError(t, r.Err)
		require.EqualValues(t, 10, r.Summary.Sent)
	}
}
