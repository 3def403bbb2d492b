package loader_test

import (
	"cmp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/preflight"
)

const exportState = `select concat_ws(' ', export_system = (select system_identifier::text from pg_control_system()),
	export_database = current_database(), export_relation) from candu_test.loader_state`

// The rows of another table before the watermark would never be read: "0 rows read, succeeded".
func TestRun_AnotherExport(t *testing.T) {
	t.Parallel()
	for name, lately := range map[string]bool{"watermark at a row": false, "watermark between rows": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{})
			w.plain(t)
			end := time.Now().Add(-time.Hour).Truncate(time.Second)
			if lately {
				end = time.Now().Truncate(time.Second)
			}
			for id := range 30 {
				w.insert(t, id, end.Add(time.Duration(id-30)*time.Second/100))
			}
			w.run(t)
			require.Equal(t, lately, w.one(t, "select watermark_id from candu_test.loader_state") == "NULL")
			require.Equal(t, `t t "public"."candu_interactions"`, w.one(t, exportState))

			// Ids begin at the same number everywhere.
			w.sample(t, loadertest.Export{Table: "public.other", Rows: 200, Start: end.AddDate(0, 0, -3), End: end.AddDate(0, 0, -2)})
			w.cfg.Sources[0].Interactions.Table.Name = "other"
			err := w.refused(t)
			require.ErrorContains(t, err, `reading "public"."other" of database "`)
			require.ErrorContains(t, err, `came from "public"."candu_interactions" of database "`)
			require.Contains(t, fault.HintOf(err), "candu-loader run Candu_Test --new-export")
			_, verified := w.loader(t).Verify(t.Context(), w.cfg.Sources[0], loader.VerifyOptions{})
			require.EqualError(t, verified, err.Error())
			require.Equal(t, `t t "public"."candu_interactions"`, w.one(t, exportState))

			w.exec(t, "update candu_test.loader_leases set expires_at = clock_timestamp() + interval '10 seconds', holder = 'somebody'")
			_, err = w.try(t, loader.RunOptions{NewExport: true})
			require.Equal(t, fault.Busy, fault.KindOf(err))
			w.exec(t, "update candu_test.loader_leases set expires_at = clock_timestamp()")
			summary, err := w.try(t, loader.RunOptions{NewExport: true})
			require.NoError(t, err)
			require.EqualValues(t, 200, summary.Sent)
			require.Equal(t, `t t "public"."other"`, w.one(t, exportState))
			require.Zero(t, w.run(t).Sent)
			require.Equal(t, "0", w.one(t, `select count(*) from other o where not exists (
				select from candu_test.screens m where m.loader_interaction_id = o.id::text and m."timestamp" = o.occurred_at
				union all select from candu_test.tracks m where m.loader_interaction_id = o.id::text and m."timestamp" = o.occurred_at)`))
		})
	}
}

// Another table stands under the same name: no row of it was loaded, and those before the watermark would
// never be read.
func TestRun_ATableReplacedUnderItsName(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lately   bool
		lookback string
	}{"watermark at a row": {}, "watermark between rows": {lately: true}, "without lookback": {lookback: "0s"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{source: "lookback: " + cmp.Or(c.lookback, "15m")})
			w.plain(t)
			end := time.Now().Add(-time.Hour).Truncate(time.Second)
			if c.lately {
				end = time.Now().Truncate(time.Second)
			}
			for id := range 30 {
				w.insert(t, id, end.Add(time.Duration(id-30)*time.Second/100))
			}
			w.run(t)
			before := w.fake.Stats().Received
			w.exec(t, "drop table candu_interactions")
			w.sample(t, loadertest.Export{Rows: 200, Start: end.AddDate(0, 0, -3), End: end.AddDate(0, 0, -2)})

			_, ran := w.try(t, loader.RunOptions{})
			_, previewed := w.loader(t).PreviewRun(t.Context(), w.cfg.Sources[0], loader.RunOptions{})
			for _, err := range []error{ran, previewed} {
				require.Equal(t, fault.Precondition, fault.KindOf(err), "%v", err)
				require.ErrorContains(t, err, "reading public.candu_interactions: what was loaded up to the watermark is not in it any more")
				require.Contains(t, fault.HintOf(err), "candu-loader run Candu_Test --new-export")
			}
			require.Equal(t, preflight.LevelError, w.check(t)["export_other"].Level)
			require.False(t, w.verify(t, loader.VerifyOptions{}).Proved)
			require.Equal(t, before, w.fake.Stats().Received)

			summary, err := w.try(t, loader.RunOptions{NewExport: true})
			require.NoError(t, err)
			require.EqualValues(t, 200, summary.Sent)
			require.Zero(t, w.run(t).Sent)
			require.NotContains(t, w.check(t), "export_other")
			_, err = w.try(t, loader.RunOptions{NewExport: true})
			require.NoError(t, err)
			require.Contains(t, w.log.String(), "it is no new export")
		})
	}
}

// An export that is pruned, be it to its last row, is the same.
func TestRun_AnExportThatIsPruned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 0s"})
	w.plain(t)
	end := time.Now().Add(-time.Hour).Truncate(time.Second)
	for id := range 60 {
		w.insert(t, id, end.Add(time.Duration(id-60)*time.Minute))
	}
	w.exec(t, "update candu_interactions set tutorial_id = null where id between 20 and 24")
	w.run(t)
	for n, pruned := range []string{"id < 10", "id <= 45 and id >= 25", "id >= 25 and id < 59", "id <> 30", "true"} {
		w.exec(t, "delete from candu_interactions where "+pruned)
		w.run(t)
		w.insert(t, 100+n, end.Add(time.Duration(n)*time.Minute))
		w.run(t)
	}
	require.NotContains(t, w.check(t), "export_other")
}

// A table that was restored from a backup lacks its end. Nothing of it is lost as far as can be known,
// but what comes may be stamped with times that the watermark has passed.
func TestRun_AnExportThatLostItsEnd(t *testing.T) {
	t.Parallel()
	for _, lookback := range []string{"0s", "15m"} {
		t.Run(lookback, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{source: "lookback: " + lookback})
			w.plain(t)
			end := time.Now().Add(-time.Hour).Truncate(time.Second)
			for id := range 60 {
				w.insert(t, id, end.Add(time.Duration(id-60)*time.Minute))
			}
			w.run(t)
			w.run(t)
			require.NotContains(t, w.log.String(), "lies before the watermark")
			w.exec(t, "delete from candu_interactions where id >= 30")
			w.exec(t, "update candu_test.loader_state set complete_until = '2026-01-01'")
			summary := w.run(t)
			require.Nil(t, summary.CompleteUntil)
			require.Contains(t, w.log.String(), "lies before the watermark")
			require.Contains(t, w.log.String(), "candu-loader run Candu_Test --new-export")
			require.Equal(t, "t t", w.one(t, "select concat_ws(' ', held_back_by like '%lies before the watermark%', complete_until = '2026-01-01') from candu_test.loader_state"))
			require.Equal(t, preflight.LevelWarning, w.check(t)["export_behind"].Level)

			w.insert(t, 200, end.Add(-25*time.Minute))
			summary, err := w.try(t, loader.RunOptions{NewExport: true})
			require.NoError(t, err)
			require.EqualValues(t, 1, summary.Sent)
			require.NotNil(t, summary.CompleteUntil)
			require.Equal(t, "200", w.one(t, "select watermark_id from candu_test.loader_state"))
			require.NotContains(t, w.check(t), "export_behind")
			w.settled(t, "candu_interactions", "id")
		})
	}
}

// A table that was renamed, upgraded, or built anew each night, is the same export.
func TestRun_TheSameExportElsewhere(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]time.Time{"watermark at a row": time.Now().Add(-time.Hour), "watermark between rows": time.Now()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{})
			w.plain(t)
			w.run(t)
			w.exec(t, "alter table candu_interactions rename to renamed")
			w.cfg.Sources[0].Interactions.Table.Name = "renamed"
			w.run(t) // Nothing was loaded yet.
			w.exec(t, "alter table renamed rename to candu_interactions")
			w.cfg.Sources[0].Interactions.Table.Name = "candu_interactions"
			for id := range 30 {
				w.insert(t, id, end.Add(time.Duration(id-30)*time.Second/100))
			}
			require.EqualValues(t, 30, w.run(t).Sent)

			w.exec(t, "update candu_test.loader_state set export_system = '4711', export_database = 'before'")
			require.Zero(t, w.run(t).Sent)
			require.Equal(t, `t t "public"."candu_interactions"`, w.one(t, exportState))
			// What is older was pruned.
			w.exec(t, "create table renamed as select * from candu_interactions where id >= 15; drop table candu_interactions")
			w.cfg.Sources[0].Interactions.Table.Name = "renamed"
			require.Zero(t, w.run(t).Sent)
			require.Equal(t, `t t "public"."renamed"`, w.one(t, exportState))
			w.exec(t, "create table again as select * from renamed where id < 15; drop table renamed; alter table again rename to renamed")
			require.Zero(t, w.run(t).Sent)
			w.exec(t, "update candu_test.loader_state set export_system = null, export_database = null, export_relation = null")
			require.Zero(t, w.run(t).Sent)
			require.Equal(t, `t t "public"."renamed"`, w.one(t, exportState))
			w.settled(t, "renamed", "id")
		})
	}
}
