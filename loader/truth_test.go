package loader_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// The export's clock ran an hour ahead when the last run read it, and was put right soon after; the next
// run comes later than the difference, when the clock has passed the watermark again.
func TestRun_TheExportsClockWasPutRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 1m"})
	w.sample(t, loadertest.Export{Rows: 100})
	w.run(t)
	w.exec(t, `update candu_test.loader_runs set export_clock_behind = '-1 hour';
		update candu_test.loader_state set watermark_at = clock_timestamp() + interval '5 minutes', watermark_id = null`)
	check := func() []string {
		findings := w.loader(t).Check(t.Context(), w.cfg.Sources[0], true)
		var codes []string
		for _, f := range findings {
			codes = append(codes, f.Code)
		}
		return codes
	}
	require.Contains(t, check(), "watermark_ahead")
	w.exec(t, "update candu_test.loader_state set watermark_at = clock_timestamp() - interval '1 second'")
	require.NotContains(t, check(), "watermark_ahead")

	w.insert(t, 1_000, time.Now().Add(-40*time.Minute))
	summary := w.run(t)
	require.EqualValues(t, 1, summary.Sent)
	require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
}

// A schema that an older version made goes on where it stands, with all that is in it.
func TestRun_UpgradesEveryOlderSchema(t *testing.T) {
	t.Parallel()
	down, err := filepath.Glob("../migrations/*.down.sql")
	require.NoError(t, err)
	for version := 1; version < len(down); version++ {
		t.Run(fmt.Sprintf("from %d", version), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{})
			w.sample(t, loadertest.Export{Rows: 100, Ties: 100}) // All within lookback.
			w.exec(t, "update candu_interactions set user_id = null, anonymous_id = null where id in (7, 8)")
			require.EqualValues(t, 98, w.run(t).Sent)
			var sql strings.Builder
			for _, file := range slices.Backward(down[version:]) {
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				sql.Write(text)
			}
			w.exec(t, fmt.Sprintf("set search_path to candu_test;%s;update loader_schema_migrations set version = %d; reset search_path", sql.String(), version))
			mark := w.one(t, "select watermark_at from candu_test.loader_state")

			w.exec(t, "update candu_interactions set user_id = 'u' where id = 7")
			w.insert(t, 1_000, time.Now())
			require.EqualValues(t, 2, w.run(t).Sent, "the new row and the mended one")
			require.NotEqual(t, mark, w.one(t, "select watermark_at from candu_test.loader_state"))
			w.exec(t, "update candu_interactions set user_id = 'u' where id = 8")
			retried, err := w.loader(t).RetryRejects(t.Context(), w.cfg.Sources[0], "")
			require.NoError(t, err)
			require.EqualValues(t, 1, retried.Sent)
			require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
			require.Zero(t, w.run(t).Sent)
		})
	}
}
