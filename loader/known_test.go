package loader_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/lineage"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/status"
)

// Two machines that run one source with different configurations take turns, and nobody noticed.
func TestRun_ConfigurationsThatAlternate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.sample(t, loadertest.Export{Rows: 50})
	src := w.cfg.Sources[0]
	usual, other := src.Lookback, time.Hour
	run := func(lookback time.Duration) {
		t.Helper()
		src.Lookback = lookback
		w.run(t)
	}
	codes := func() string {
		t.Helper()
		var codes []string
		for _, f := range w.loader(t).Check(t.Context(), src, true) {
			if strings.HasPrefix(f.Code, "config_") && f.Code != "config_read" {
				codes = append(codes, string(f.Level)+" "+f.Code)
			}
		}
		return strings.Join(codes, ", ")
	}
	alternates := func() string {
		t.Helper()
		return w.loader(t).Status(t.Context(), src, status.Memory{}).ConfigAlternates
	}
	run(usual)
	require.Empty(t, codes())
	src.Lookback = other
	require.Equal(t, "info config_changed", codes())
	run(other)
	require.Empty(t, codes())
	require.Empty(t, alternates(), "a change is none of two machines'")
	require.NotContains(t, w.log.String(), "back and forth")
	src.Lookback = usual
	require.Equal(t, "warning config_alternates", codes(), "here is what was replaced")

	run(usual)
	require.Equal(t, 1, strings.Count(w.log.String(), "goes back and forth"))
	require.Contains(t, alternates(), "the configuration of this source goes back and forth on host ")
	require.Equal(t, "warning config_alternates", codes())
	run(usual)
	require.Equal(t, 1, strings.Count(w.log.String(), "goes back and forth"), "not each time")
	w.exec(t, "update candu_test.loader_state set config_alternated_at = now() - interval '25 hours', config_host = 'elsewhere'")
	require.Empty(t, alternates())
	run(other)
	require.Contains(t, alternates(), "back and forth between hosts elsewhere and ")
	// A backfill of a third machine counts too.
	src.Lookback = 2 * time.Hour
	w.backfill(t, loader.BackfillOptions{From: new(time.Unix(0, 0))})
	require.Equal(t, lineage.Hash(src), w.one(t, "select config_hash from candu_test.loader_state"))
}
