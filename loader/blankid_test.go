package loader_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// A blank id is no id, and what stands under it is listed, proved and tried again as anything else is.
func TestRun_RejectsBlankIDs(t *testing.T) {
	t.Parallel()
	blank := []string{"", " ", "\t", "\u00a0\u3000"}
	for name, interactions := range map[string]string{"kinds": "", "by event name": ", kinds: by_event_name"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := loadertest.Database(t)
			w := newWorld(t, settings{url: url, source: "max_rejected: 100%\ninteractions: {url: \"" + url + "\"" + interactions + "}"})
			w.sample(t, loadertest.Export{Rows: 60, IDType: "text", Start: *day(1), End: *day(2)})
			if interactions != "" {
				w.exec(t, "update candu_interactions set event_name = e'\\u3000'")
			}
			w.exec(t, "with r as (select id, row_number() over (order by exported_at) n from candu_interactions) update candu_interactions i set id = ($1::text[])[r.n - 20] from r where r.id = i.id and r.n between 21 and 24", blank)
			summary := w.run(t)
			require.EqualValues(t, 56, summary.Sent)
			var rejects []string
			require.NoError(t, w.loader(t).Rejects(t.Context(), w.cfg.Sources[0], "missing_id", func(r ledger.Reject) error {
				require.Equal(t, "id is blank", r.Detail)
				rejects = append(rejects, r.InteractionID)
				return nil
			}))
			require.ElementsMatch(t, blank, rejects)
			require.Contains(t, w.log.String(), `id \"\": id is blank`)
			report := w.verify(t, loader.VerifyOptions{})
			require.True(t, report.Proved, "%+v", report)
			require.EqualValues(t, 4, report.Rejected)
			require.Empty(t, report.Days, "one definition of blank on both sides")
			require.EqualValues(t, "rejects", w.explain(t, "").Place)

			t.Log("each is tried again")
			retried, err := w.loader(t).RetryRejects(t.Context(), w.cfg.Sources[0], "missing_id")
			require.NoError(t, err)
			require.EqualValues(t, 4, retried.RowsRead)
			require.Equal(t, "2 2 2 2", w.one(t, "select string_agg(attempts::text, ' ') from candu_test.loader_rejects"))

			t.Log("and missed where it stands in neither place")
			w.exec(t, "delete from candu_test.loader_rejects where interaction_id = ''")
			report = w.verify(t, loader.VerifyOptions{})
			require.False(t, report.Proved)
			require.Equal(t, []string{""}, report.Missing.IDs)

			t.Log("a row that was sent under it before there was this rule stays delivered")
			w.exec(t, "update candu_interactions set kind = 'view', event_name = null where id = ''")
			var at time.Time
			require.NoError(t, w.db.QueryRow(t.Context(), "select occurred_at from candu_interactions where id = ''").Scan(&at))
			messageID := event.MessageID(uuid.MustParse(w.one(t, "select message_namespace from candu_test.loader_state")), "", at.UTC())
			w.exec(t, `insert into candu_test.screens (id, "timestamp", loader_interaction_id) select $1, occurred_at, '' from candu_interactions where id = ''`, messageID)
			w.run(t)
			require.Equal(t, "3", w.one(t, "select count(*) from candu_test.loader_rejects"))
			require.EqualValues(t, "mirror", w.explain(t, "").Place)
			w.exec(t, "delete from candu_test.loader_rejects where interaction_id = ' '")
			report = w.verify(t, loader.VerifyOptions{})
			require.Equal(t, []string{" "}, report.Missing.IDs, "%+v", report)
			w.exec(t, "delete from candu_interactions where id = ''")
			require.Equal(t, []string{""}, w.verify(t, loader.VerifyOptions{}).Gone.IDs)
		})
	}
}
