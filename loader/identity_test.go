package loader_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
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
