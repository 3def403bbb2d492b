package loader_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fakesegment"
)

// adds checks that each row that was read is counted once.
func adds(t *testing.T, s loader.Summary) {
	t.Helper()
	require.Equal(t, s.RowsRead, s.Sent+s.AlreadyDelivered+s.Rejected+s.RejectedBefore, "%+v", s.Counters)
}

// What an earlier run rejected is not delivered, and nobody is told that it is.
func TestRun_CountsRowsThatWereRejectedBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "page_size: 7"})
	w.plain(t)
	for i := range 20 {
		w.insert(t, i, time.Now()) // Within lookback, so each run reads them again.
	}
	w.exec(t, "update candu_interactions set user_id = null where id in (3, 4)")
	w.exec(t, "update candu_interactions set kind = 'hover' where id = 11")
	w.exec(t, "update candu_interactions set user_id = 'poison' where id = 13")
	w.fake.SetFaults(fakesegment.Faults{Poison: []fakesegment.Poison{{UserID: "poison"}}})

	first := w.run(t)
	adds(t, first)
	require.EqualValues(t, 4, first.Rejected)
	require.Zero(t, first.RejectedBefore)
	require.Len(t, first.Rejects, 3)
	require.EqualValues(t, "missing_identity", first.Rejects[0].Reason)
	require.EqualValues(t, 2, first.Rejects[0].Rows)
	require.Equal(t, []string{"id 3: user_id and anonymous_id are missing", "id 4: user_id and anonymous_id are missing"}, first.Rejects[0].Examples)
	for _, want := range []string{"reason=missing_identity rows=2", "reason=unknown_kind rows=1", "reason=refused_by_segment rows=1", "id 11: kind"} {
		require.Contains(t, w.log.String(), want)
	}

	warned := strings.Count(w.log.String(), "rows were rejected")
	again := w.run(t)
	adds(t, again)
	require.Zero(t, again.Rejected)
	require.Empty(t, again.Rejects)
	require.EqualValues(t, 4, again.RejectedBefore)
	require.EqualValues(t, 16, again.AlreadyDelivered)
	require.Equal(t, "16 4", w.one(t, "select already_delivered || ' ' || rejected_before from candu_test.loader_runs order by id desc limit 1"))
	require.Equal(t, warned, strings.Count(w.log.String(), "rows were rejected"), "it warns of what it rejects itself")

	t.Log("a limit cuts pages in which there are such rows")
	for i := range 20 {
		w.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at)
			select 100 + id, 'view', 'u', 1, occurred_at, exported_at + interval '1 microsecond' from candu_interactions where id = $1`, i)
	}
	for _, sent := range []int64{3, 3, 3, 3, 3, 3, 2} {
		limited, err := w.try(t, loader.RunOptions{Limit: 3})
		require.NoError(t, err)
		require.Equal(t, sent, limited.Sent)
		adds(t, limited)
	}

	t.Log("a retry counts what it tries, and no row that is gone")
	w.exec(t, "delete from candu_interactions where id = 11")
	w.fake.SetFaults(fakesegment.Faults{})
	retried, err := w.loader(t).RetryRejects(t.Context(), w.cfg.Sources[0], "")
	require.NoError(t, err)
	adds(t, retried)
	require.EqualValues(t, 3, retried.RowsRead)
	require.Contains(t, w.log.String(), "rejects whose rows are gone from the export stay")
}
