package loader_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// In place of a schema that vanished nobody makes a new one, which would have everything sent again.
func TestRun_ASchemaThatVanished(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ vanish, back, says, hint string }{
		"renamed": {
			`alter schema candu_test rename to other_name`, `alter schema other_name rename to candu_test`,
			"it is not there", "candu-loader's tables are in other_name",
		},
		"made anew, empty": {
			`alter schema candu_test rename to "Other"; create schema candu_test`, `drop schema candu_test; alter schema "Other" rename to candu_test`,
			"candu-loader's tables are not in it", `candu-loader's tables are in "Other"`,
		},
		"restored without its state": {
			`create table kept as table candu_test.loader_state; truncate candu_test.loader_state`, `insert into candu_test.loader_state table kept`,
			"loader_state is empty", "restore the schema",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{})
			w.sample(t, loadertest.Export{Rows: 100})
			w.run(t)
			before := w.fake.Stats().Received
			w.exec(t, c.vanish)

			_, ran := w.try(t, loader.RunOptions{})
			_, backfilled := w.loader(t).Backfill(t.Context(), w.cfg.Sources[0], loader.BackfillOptions{From: new(time.Unix(0, 0))})
			_, retried := w.loader(t).RetryRejects(t.Context(), w.cfg.Sources[0], "")
			_, verified := w.loader(t).Verify(t.Context(), w.cfg.Sources[0], loader.VerifyOptions{})
			for _, err := range []error{ran, backfilled, retried, verified} {
				require.ErrorIs(t, err, ledger.ErrAbsent)
				require.Equal(t, fault.Precondition, fault.KindOf(err))
				require.ErrorContains(t, err, `looking into schema "candu_test" of database "`)
				require.ErrorContains(t, err, c.says)
				require.Contains(t, fault.HintOf(err), "If this source is new: candu-loader migrate Candu_Test. If it was loaded before, ")
				require.Contains(t, fault.HintOf(err), c.hint)
			}
			var found []string
			for _, f := range w.loader(t).Check(t.Context(), w.cfg.Sources[0], true) {
				if f.Level == "error" {
					found = append(found, f.Code+": "+f.Text)
				}
			}
			require.Equal(t, []string{"schema_missing: " + ran.Error()}, found)
			require.Equal(t, before, w.fake.Stats().Received)

			w.exec(t, c.back)
			require.Zero(t, w.run(t).Sent)
			w.settled(t, "candu_interactions", "id")
		})
	}
}
