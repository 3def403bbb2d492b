package loader_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/preflight"
	"github.com/candu-loader/candu-loader/loader/status"
)

// A restart of Postgres under a command that reads is waited out, as by run. Each command has its
// connections ended right before it.
func TestCommands_WaitOutARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.sample(t, loadertest.Export{Rows: 50, Bad: map[string]float64{"missing_identity": 0.02}})
	w.run(t)
	l, src := w.loader(t), w.cfg.Sources[0]
	id := w.one(t, "select loader_interaction_id from candu_test.screens limit 1")
	for name, command := range map[string]func() error{
		"verify": func() error { _, err := l.Verify(t.Context(), src, loader.VerifyOptions{}); return err },
		"repair": func() error { _, err := l.Repair(t.Context(), src, loader.VerifyOptions{}, nil); return err },
		"check": func() error {
			for _, f := range l.Check(t.Context(), src, true) {
				if f.Level == preflight.LevelError || strings.Contains(f.Text, "57P01") {
					return errors.New(f.Code + ": " + f.Text)
				}
			}
			return nil
		},
		"explain": func() error { _, err := l.Explain(t.Context(), src, id); return err },
		"dry-run": func() error { _, err := l.PreviewRun(t.Context(), src, loader.RunOptions{}); return err },
		"rejects": func() error { return l.Rejects(t.Context(), src, "", func(ledger.Reject) error { return nil }) },
		"status":  func() error { return l.Status(t.Context(), src, status.Memory{}).Err },
		"migrate": func() error { _, err := l.Migrate(t.Context(), src, ledger.MigrateOptions{}); return err },
		"run":     func() error { _, err := l.Run(t.Context(), src, loader.RunOptions{}); return err },
	} {
		const theirs = "pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and application_name like 'candu-loader%'"
		w.exec(t, "select pg_terminate_backend(pid) from "+theirs)
		loadertest.Eventually(t, func() bool { return w.one(t, "select not exists (select from "+theirs+")") == "true" }, "the sessions to end")
		began := time.Now()
		require.NoError(t, command(), name)
		t.Log(name, time.Since(began))
	}
	require.Contains(t, w.log.String(), "retrying: a database did not answer")
	_, err := w.loader(t).Hasty().Verify(t.Context(), src, loader.VerifyOptions{})
	require.NoError(t, err)
}
