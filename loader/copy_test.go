package loader_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/secret"
	"github.com/candu-loader/candu-loader/loader/trace"
)

// onItsOwn makes a copy a schema with a write key and ids of its own.
func (w *world) onItsOwn(t *testing.T) {
	t.Helper()
	w.cfg.Sources[0].WriteKey = secret.String("key-of-" + w.one(t, "current_database()"))
	require.NoError(t, w.migrate(t, ledger.MigrateOptions{NewNamespace: true}))
}

// proves that nothing differs, and that a run and a backfill over everything send nothing.
func (w *world) proves(t *testing.T, rows int64) {
	t.Helper()
	require.Zero(t, w.run(t).Sent)
	require.Zero(t, w.backfill(t, loader.BackfillOptions{From: new(time.Unix(0, 0))}).Sent)
	report := w.verify(t, loader.VerifyOptions{})
	require.True(t, report.Proved, "%+v", report)
	require.Zero(t, report.Gone.Rows+report.Pending, "%+v", report)
	require.Equal(t, rows, report.Rows)
}

// The export's clock ran an hour ahead as the copy was made, and is put right: rows that come now are
// stamped with times that lie before the place up to which the copy leaves the rows to the original.
func TestRun_ACopyWhoseExportsClockIsPutRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	ahead := time.Now().Add(-5 * time.Minute).Truncate(time.Microsecond)
	for id := range 20 {
		w.insert(t, id, ahead.Add(time.Duration(id-20)*time.Second))
	}
	w.exec(t, "update candu_interactions set tutorial_id = null where id = 7")
	require.EqualValues(t, 19, w.run(t).Sent)
	c := copied(t, w)
	c.onItsOwn(t)
	w.insert(t, 100, time.Now().Add(-3*time.Minute))
	require.EqualValues(t, 1, c.run(t).Sent)

	c.exec(t, "update candu_test.loader_runs set export_clock_behind = '-1 hour'")
	for id := 200; id < 205; id++ {
		w.insert(t, id, ahead.Add(-30*time.Minute+time.Duration(id)*time.Second))
	}
	require.EqualValues(t, 5, c.run(t).Sent, "the new rows, and none of those that the original sent")
	require.Contains(t, c.log.String(), "the export's clock was put back: so was the watermark")
	require.Contains(t, c.log.String(), "a row is taken for the original's only if the mirror")
	require.Equal(t, "t NULL", c.one(t, `select concat_ws(' ', namespace_since < now() - interval '55 minutes', coalesce(namespace_since_id, 'NULL')) from candu_test.loader_state`))
	c.proves(t, 26)

	explained := c.explain(t, "3")
	require.Equal(t, trace.InMirror, explained.Place)
	require.Contains(t, explained.Answer, "another schema, of which this one is a copy, sent it")
	require.Equal(t, trace.InRejects, c.explain(t, "7").Place)
	require.NotContains(t, c.explain(t, "202").Answer, "another schema")
	require.EqualValues(t, 6, c.backfill(t, loader.BackfillOptions{From: new(time.Unix(0, 0)), Resend: true}).Sent, "its own")
	c.proves(t, 26)
	require.Len(t, c.fake.Accepted(), 6)

	t.Log("a later step that does not reach it leaves it where it is")
	before := c.one(t, "select namespace_since from candu_test.loader_state")
	c.exec(t, "update candu_test.loader_runs set export_clock_behind = '-5 seconds'")
	c.run(t)
	require.Equal(t, before, c.one(t, "select namespace_since from candu_test.loader_state"))
}

// The original had delivered rows beyond its watermark, which something held back, as the copy was
// made: they are the original's.
func TestRun_ACopyOfAWatermarkThatIsHeldBack(t *testing.T) {
	t.Parallel()
	for name, passed := range map[string]int{"with rows before it": 10, "before all rows": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{})
			w.plain(t)
			w.run(t)
			stamp := time.Now().Add(-10 * time.Minute).Truncate(time.Microsecond)
			for id := range passed {
				w.insert(t, id, stamp.Add(time.Duration(id)*time.Second))
			}
			w.run(t)
			w.exec(t, "begin; create table held (); prepare transaction 'held_"+w.one(t, "current_database()")+"'")
			for id := 50; id < 55; id++ {
				w.insert(t, id, stamp.Add(time.Duration(id)*time.Second))
			}
			require.EqualValues(t, 5, w.run(t).Sent)
			require.Equal(t, passed > 0, w.one(t, "select watermark_id from candu_test.loader_state") == "9")
			w.exec(t, "rollback prepared 'held_"+w.one(t, "current_database()")+"'")

			c := copied(t, w)
			c.onItsOwn(t)
			w.exec(t, "update candu_interactions set tutorial_id = null where id >= 50")
			require.Contains(t, c.check(t)["rows_rejected"].Text, "delivered before they became unfit: 5", "what the original sent is nothing new to the copy")
			w.exec(t, "update candu_interactions set tutorial_id = 1 where id >= 50")
			preview, err := c.loader(t).PreviewRun(t.Context(), c.cfg.Sources[0], loader.RunOptions{})
			require.NoError(t, err)
			require.Zero(t, preview.ToSend)
			summary := c.run(t)
			adds(t, summary)
			require.Zero(t, summary.Sent)
			require.Equal(t, "54", c.one(t, "select watermark_id from candu_test.loader_state"))
			w.insert(t, 60, stamp.Add(time.Minute))
			require.EqualValues(t, 1, c.run(t).Sent)
			c.proves(t, 6)
			require.Contains(t, c.explain(t, "52").Answer, "another schema, of which this one is a copy, sent it")
			require.Len(t, c.fake.Accepted(), 1)

			t.Log("a copy of the copy has what either sent")
			d := copied(t, c)
			d.cfg.Sources[0].Interactions.URL = c.cfg.Sources[0].Interactions.URL
			d.onItsOwn(t)
			require.Equal(t, []string{w.one(t, "select message_namespace from candu_test.loader_state"), c.one(t, "select message_namespace from candu_test.loader_state")},
				d.list(t, "select unnest(original_namespaces)::text from candu_test.loader_state"))
			d.exec(t, "update candu_test.loader_runs set export_clock_behind = '-1 hour'")
			w.insert(t, 70, stamp.Add(-time.Minute))
			require.EqualValues(t, 1, d.run(t).Sent)
			d.proves(t, int64(passed)+7)
			require.NotEqual(t, uuid.Nil.String(), d.one(t, "select message_namespace from candu_test.loader_state"))
		})
	}
}
