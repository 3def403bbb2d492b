package loader_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// levelled lists the findings of check of that level.
func (w *world) levelled(t *testing.T, level string) (codes []string) {
	t.Helper()
	for _, finding := range w.loader(t).Check(t.Context(), w.cfg.Sources[0], true) {
		if string(finding.Level) == level {
			codes = append(codes, finding.Code)
		}
	}
	return codes
}

const (
	elsewhere = "kind, user_id, anonymous_id, tutorial_id, segment_id, portal_id, version_id, event_name"
	others    = elsewhere + ", occurred_at"
)

// A view whose exported_at or id is another one at each look is refused with the first page, by check and
// by verify, before anything is sent.
func TestRun_RefusesWhatMoves(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ view, code string }{
		"now":      {"select id, now() as exported_at, " + others + " from candu_interactions", "exported_at_moves"},
		"clock":    {"select id, clock_timestamp() as exported_at, " + others + " from candu_interactions", "exported_at_moves"},
		"coalesce": {"select id, coalesce(exported_at, now()) as exported_at, " + others + " from candu_interactions", "exported_at_moves"},
		"time":     {"select id, exported_at, " + elsewhere + ", now() - interval '1 hour' as occurred_at from candu_interactions where exported_at is not null", "occurred_at_moves"},
		"no time":  {"select id, exported_at, " + elsewhere + ", coalesce(case when id % 10 > 0 then occurred_at end, now()) as occurred_at from candu_interactions where exported_at is not null", "occurred_at_moves"},
		"random":   {"select gen_random_uuid() as id, exported_at, " + others + " from candu_interactions where exported_at is not null", "id_moves"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{source: "page_size: 50\nlookback: 1h\n"})
			w.cfg.Sources[0].Interactions.Table.Name = "moving"
			w.sample(t, loadertest.Export{Rows: 300})
			w.exec(t, "alter table candu_interactions alter column exported_at drop not null")
			w.exec(t, "update candu_interactions set exported_at = null where id > 30")
			if name == "random" {
				w.exec(t, "update candu_interactions set exported_at = occurred_at")
			}
			w.exec(t, "create view moving as "+c.view)
			require.Contains(t, w.levelled(t, "error"), c.code)
			_, err := w.try(t, loader.RunOptions{})
			require.Error(t, err)
			require.True(t, fault.Is(err, fault.Precondition), "%v", err)
			require.NotEmpty(t, fault.HintOf(err))
			require.Zero(t, w.fake.Stats().Received, "nothing was sent")
			_, err = w.loader(t).Verify(t.Context(), w.cfg.Sources[0], loader.VerifyOptions{})
			require.True(t, fault.Is(err, fault.Precondition), "%v", err)
		})
	}
}

// Rows that move behind others that don't: the run sends what it can, and ends with the page that brings the
// same rows again, be it that they move between any two looks, or only from page to page.
func TestRun_EndsWhenRowsComeAgain(t *testing.T) {
	t.Parallel()
	for name, moving := range map[string]string{"each look": "now()", "now and then": "(select at from clock)"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{source: "page_size: 50\nlookback: 1h\n"})
			w.cfg.Sources[0].Interactions.Table.Name = "moving"
			w.sample(t, loadertest.Export{Rows: 2_500})
			w.exec(t, "create table clock as select now() - interval '1 hour' as at")
			w.exec(t, "alter table candu_interactions alter column exported_at drop not null")
			w.exec(t, "update candu_interactions set exported_at = null where id > 500")
			w.exec(t, "create view moving as select id, coalesce(exported_at, "+moving+") as exported_at, "+others+" from candu_interactions")
			_, err := w.try(t, loader.RunOptions{Progress: func(loader.Progress) {
				_, err := w.db.Exec(t.Context(), "update clock set at = at + interval '1 ms'")
				require.NoError(t, err)
			}})
			require.Error(t, err)
			require.True(t, fault.Is(err, fault.Precondition), "%v", err)
			require.GreaterOrEqual(t, w.fake.Stats().Accepted, int64(500))
			require.Zero(t, w.fake.Stats().Duplicates, "nothing was sent twice")
			require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_leases where expires_at > now()"))
		})
	}
}

// Rows that somebody exports again while they are read are no reason to stop.
func TestRun_RowsExportedAgainAreNoCircle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "page_size: 50\nlookback: 1h\n"})
	w.cfg.Sources[0].Interactions.Table.Name = "exported"
	w.sample(t, loadertest.Export{Rows: 5_000})
	w.exec(t, "create view exported as select * from candu_interactions")
	var again sync.Once
	summary, err := w.try(t, loader.RunOptions{Progress: func(p loader.Progress) {
		if p.RowsRead < 900 {
			return
		}
		again.Do(func() { // They come again while page 16, which has some of them, is held.
			_, err := w.db.Exec(t.Context(), `update candu_interactions set exported_at = (select exported_at from candu_interactions where id = 1450)
				where id between 701 and 850`)
			require.NoError(t, err)
		})
	}})
	require.NoError(t, err)
	require.EqualValues(t, 5_000, summary.Sent)
	require.EqualValues(t, 5_150, summary.RowsRead, "some were read twice")
	require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
}

// Ids that are numbers of rows can't be told from others, so check says so.
func TestCheck_NamesWhatMayMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.cfg.Sources[0].Interactions.Table.Name = "numbered"
	w.sample(t, loadertest.Export{Rows: 10})
	w.exec(t, "create view numbered as select row_number() over (order by exported_at, id) as id, exported_at, "+others+" from candu_interactions")
	require.Contains(t, w.levelled(t, "warning"), "id_computed")
	require.EqualValues(t, 10, w.run(t).Sent)
	require.Contains(t, w.log.String(), "the view computes what may give a row another id", "a run says so too")
	w.exec(t, fmt.Sprintf("create or replace view numbered as select id, exported_at, %s from candu_interactions", others))
	require.NotContains(t, w.levelled(t, "warning"), "id_computed")
}

// Rows of which occurred_at is the clock, behind those of the first page: what comes before them is sent, and nothing twice.
func TestRun_RefusesTimesThatMoveInLaterPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "page_size: 50\nlookback: 1h\n"})
	w.cfg.Sources[0].Interactions.Table.Name = "moving"
	w.sample(t, loadertest.Export{Rows: 300})
	w.exec(t, "update candu_interactions set exported_at = now() - interval '10 minutes'")
	w.exec(t, "create view moving as select id, exported_at, "+elsewhere+", case when id > 290 then now() else occurred_at end as occurred_at from candu_interactions")
	for range 2 {
		_, err := w.try(t, loader.RunOptions{})
		require.True(t, fault.Is(err, fault.Precondition), "%v", err)
		require.ErrorContains(t, err, "occurred_at")
		require.EqualValues(t, 250, w.fake.Stats().Accepted)
		require.Zero(t, w.fake.Stats().Duplicates)
	}
}
