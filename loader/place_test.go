package loader_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/trace"
)

// In place of a schema that vanished nobody makes a new one, which would have everything sent again.
func TestRun_ASchemaThatVanished(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ vanish, back, says, hint string }{
		"renamed": {
			`alter schema candu_test rename to other_name`, `alter schema other_name rename to candu_test`,
			"it is not there", "candu-loader's tables are in: other_name",
		},
		"made anew, empty": {
			`alter schema candu_test rename to "Other"; create schema candu_test`, `drop schema candu_test; alter schema "Other" rename to candu_test`,
			"candu-loader's tables are not in it", `candu-loader's tables are in: "Other"`,
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

// copied is a world whose warehouse is a copy of another one's, and which reads the same export.
func copied(t *testing.T, of *world) *world {
	t.Helper()
	address := loadertest.Copy(t, of.url)
	of.db.Reset() // Its sessions were ended.
	w := newWorld(t, settings{url: address, source: fmt.Sprintf("interactions: {url: %q}", of.url)})
	w.made = true
	return w
}

// answered is migrate for the sentences that it says.
func (w *world) answered(t *testing.T, opts ledger.MigrateOptions) []string {
	t.Helper()
	done, err := w.loader(t).Migrate(t.Context(), w.cfg.Sources[0], opts)
	require.NoError(t, err)
	return done.Answers
}

func (w *world) migrate(t *testing.T, opts ledger.MigrateOptions) error {
	t.Helper()
	_, err := w.loader(t).Migrate(t.Context(), w.cfg.Sources[0], opts)
	return err
}

// refused tries everything that sends, and returns the error that all of them give, and check.
func (w *world) refused(t *testing.T) error {
	t.Helper()
	before := w.fake.Stats().Received
	l, src := w.loader(t), w.cfg.Sources[0]
	_, ran := w.try(t, loader.RunOptions{})
	require.Equal(t, fault.Precondition, fault.KindOf(ran), "%v", ran)
	_, backfilled := l.Backfill(t.Context(), src, loader.BackfillOptions{From: new(time.Unix(0, 0))})
	_, retried := l.RetryRejects(t.Context(), src, "")
	_, previewed := l.PreviewRun(t.Context(), src, loader.RunOptions{})
	for _, err := range []error{backfilled, retried, previewed} {
		require.EqualError(t, err, ran.Error())
		require.Equal(t, fault.HintOf(ran), fault.HintOf(err))
	}
	var found []string
	for _, f := range l.Check(t.Context(), src, true) {
		if f.Level == "error" {
			found = append(found, f.Text)
		}
	}
	require.Equal(t, []string{ran.Error()}, found)
	require.Equal(t, before, w.fake.Stats().Received, "nothing was sent")
	return ran
}

// A copy of a schema would send under the same ids as the original, of which Segment drops
// whichever comes second.
func TestRun_ACopyOfASchema(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	now := time.Now().Truncate(time.Microsecond)
	stamp := now.Add(-5 * time.Minute) // within lookback
	for id := range 20 {
		w.insert(t, id, stamp)
	}
	w.run(t)
	c := copied(t, w)
	w.insert(t, 100, stamp) // late, of the moment of the watermark
	w.insert(t, 101, stamp.Add(time.Minute))
	// Whoever comes beside the original: with a key of its own, or with the one that it inherited.
	err := c.refused(t)
	require.ErrorContains(t, err, `opening schema "candu_test": it was in database "`)
	require.ErrorContains(t, err, `, and is now in database "`+c.one(t, "current_database()")+`" of server `)
	require.Contains(t, fault.HintOf(err), "candu-loader migrate Candu_Test --moved")
	require.Contains(t, fault.HintOf(err), "candu-loader migrate Candu_Test --new-namespace")
	require.EqualError(t, c.migrate(t, ledger.MigrateOptions{}), err.Error())
	c.cfg.Sources[0].WriteKey = "staging"
	err = c.refused(t)
	require.ErrorContains(t, err, "its events were sent with another write key than the config has, and it was in database ")
	require.Contains(t, fault.HintOf(err), "candu-loader migrate Candu_Test --key-rotated --moved")
	require.Contains(t, fault.HintOf(err), "candu-loader migrate Candu_Test --new-namespace")
	require.Error(t, c.migrate(t, ledger.MigrateOptions{Moved: true}))

	old := c.one(t, "select message_namespace from candu_test.loader_state")
	c.cfg.Sources[0].MessageNamespace = uuid.MustParse(old)
	require.Equal(t, fault.Config, fault.KindOf(c.migrate(t, ledger.MigrateOptions{NewNamespace: true})))
	c.cfg.Sources[0].MessageNamespace = uuid.Nil
	c.exec(t, "update candu_test.loader_leases set expires_at = clock_timestamp() + interval '1 minute'")
	require.Equal(t, fault.Busy, fault.KindOf(c.migrate(t, ledger.MigrateOptions{NewNamespace: true})))
	c.exec(t, "update candu_test.loader_leases set expires_at = clock_timestamp()")
	told := c.answered(t, ledger.MigrateOptions{NewNamespace: true})
	require.Regexp(t, `^--new-namespace: events go out under namespace [-0-9a-f]+ from now on, instead of `+old+`; rows exported until the watermark .+Z are left to `, told[0])
	require.NotEqual(t, old, c.one(t, "select message_namespace from candu_test.loader_state"))

	// What the original sent is neither sent again nor called proved.
	report, err := c.loader(t).Verify(t.Context(), c.cfg.Sources[0], loader.VerifyOptions{})
	require.NoError(t, err)
	require.Zero(t, report.Rows)
	require.EqualValues(t, 20, report.Inherited)
	require.EqualValues(t, 2, c.run(t).Sent)
	require.Zero(t, c.backfill(t, loader.BackfillOptions{From: new(time.Unix(0, 0))}).Sent)
	require.Equal(t, trace.Excluded, c.explain(t, "3").Place)
	require.Contains(t, c.explain(t, "3").Answer, "it is left to another schema")
	require.Equal(t, trace.InMirror, c.explain(t, "100").Place)
	c.exec(t, `delete from candu_test.screens where loader_interaction_id = '101'`)
	report, err = c.loader(t).Verify(t.Context(), c.cfg.Sources[0], loader.VerifyOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"101"}, report.Missing.IDs)
	report, err = c.loader(t).Repair(t.Context(), c.cfg.Sources[0], loader.VerifyOptions{}, nil)
	require.NoError(t, err)
	require.True(t, report.Proved, "%+v", report)
	require.EqualValues(t, 2, report.Rows)
	require.EqualValues(t, 20, report.Inherited)
	require.Zero(t, report.Doubled.Rows+report.Changed.Rows+report.Gone.Rows)

	require.EqualValues(t, 2, w.run(t).Sent)
	w.settled(t, "candu_interactions", "id")
	require.Len(t, c.fake.Accepted(), 2)
	for _, id := range c.fake.Accepted() {
		require.NotContains(t, w.fake.Accepted(), id, "the copy and the original send under the same id")
	}
}

// A schema that moved, or whose key was rotated, goes on under its ids once somebody says so.
func TestRun_ASchemaThatMoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.sample(t, loadertest.Export{Rows: 50})
	w.run(t)
	namespace := w.one(t, "select message_namespace from candu_test.loader_state")
	w.exec(t, "update candu_test.loader_state set place_system = '4711'")
	require.ErrorContains(t, w.refused(t), `" of server 4711, and is now in database "`)
	require.Error(t, w.migrate(t, ledger.MigrateOptions{KeyRotated: true}))
	require.Regexp(t, `^--moved: the schema is known in database "\w+" of server \d+ from now on, instead of database "\w+" of server 4711$`,
		w.answered(t, ledger.MigrateOptions{Moved: true})[0])
	again := w.answered(t, ledger.MigrateOptions{Moved: true, KeyRotated: true})
	require.Equal(t, "--key-rotated: nothing to answer, the write key in the config is the one that events were sent with", again[0])
	require.Regexp(t, `^--moved: nothing to answer, the schema is where it was, in database "\w+" of server \d+$`, again[1])
	require.Zero(t, w.run(t).Sent)
	w.cfg.Sources[0].WriteKey = "rotated"
	require.ErrorContains(t, w.refused(t), "its events were sent with another write key than the config has")
	require.Error(t, w.migrate(t, ledger.MigrateOptions{Moved: true}))
	require.Equal(t, []string{"--key-rotated: events go out with the write key in the config from now on"}, w.answered(t, ledger.MigrateOptions{KeyRotated: true}))
	require.Zero(t, w.run(t).Sent)
	require.Equal(t, namespace, w.one(t, "select message_namespace from candu_test.loader_state"))

	// What an older version did not store is stored by the first run.
	w.exec(t, "update candu_test.loader_state set place_system = null, place_database = null, write_key_hash = null")
	w.run(t)
	require.Equal(t, w.one(t, "select system_identifier || ' ' || current_database() from pg_control_system()"),
		w.one(t, "select place_system || ' ' || place_database from candu_test.loader_state"))
	require.Equal(t, ledger.KeyHash(uuid.MustParse(namespace), "rotated"), w.one(t, "select write_key_hash from candu_test.loader_state"))
	w.settled(t, "candu_interactions", "id")
}
