package loader_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/fault"
)

// rows adds n rows of a user behind those that are there.
func (w *world) rows(t *testing.T, n int, user string) {
	t.Helper()
	w.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at)
		select last + n, 'view', $2, 1, timestamptz '2026-01-01Z' + (last + n) * interval '1 s', timestamptz '2026-01-01Z' + (last + n) * interval '1 s'
		from generate_series(1, $1::int) n, (select coalesce(max(id), 0) as last from candu_interactions) l`, n, user)
}

func refusing(status, skip, next int) fakesegment.Faults {
	return fakesegment.Faults{
		Faults: []fakesegment.Fault{{Kind: fakesegment.Status, Status: status, Skip: skip, Next: next}},
		Poison: []fakesegment.Poison{{UserID: "bad", Status: status}},
	}
}

func poisoned(status int) fakesegment.Faults {
	return fakesegment.Faults{Poison: []fakesegment.Poison{{UserID: "bad", Status: status}}}
}

// Who refuses everything, from whenever on, has said nothing about the rows: none is rejected, the
// run ends soon, and the next one loads them.
func TestRun_ABlanketRefusalRejectsNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ status, rows, size, skip int }{
		{400, 1, 1000, 0}, {400, 99, 1000, 0}, {400, 100_000, 1000, 0}, {400, 100_000, 100, 0}, {413, 20_000, 1000, 0},
		{400, 20_000, 1000, 7}, {400, 20_000, 100, 33}, {413, 20_000, 1000, 1},
	} {
		t.Run(fmt.Sprintf("%d for %d rows after %d requests of %d", c.status, c.rows, c.skip, c.size), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{segment: fmt.Sprintf("batch_size: %d", c.size)})
			w.plain(t)
			w.rows(t, c.rows, "u")
			w.fake.SetFaults(refusing(c.status, c.skip, 0))
			_, err := w.try(t, loader.RunOptions{})
			require.Equal(t, fault.Precondition, fault.KindOf(err), "%v", err)
			require.ErrorContains(t, err, fmt.Sprintf(`whatever was in them: answer %d; it said (application/json): {"error":"on demand","success":false}`, c.status))
			require.Contains(t, fault.HintOf(err), "No row was rejected for it")
			require.LessOrEqual(t, w.fake.Stats().Requests, int64(c.skip+50))
			require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_rejects"))
			require.Equal(t, strconv.FormatInt(w.fake.Stats().Accepted, 10), w.one(t, "select count(*) from candu_test.screens"), "what was accepted is recorded")

			w.fake.SetFaults(fakesegment.Faults{})
			w.run(t)
			w.settled(t, "candu_interactions", "id")
			require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_rejects"))
		})
	}
}

// If it ends while the run goes on, everything is sent.
func TestRun_ARefusalForAWhileRejectsNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ skip, next int }{{0, 1}, {0, 30}, {1, 3}, {5, 10}, {9, 2}} {
		t.Run(fmt.Sprintf("%d requests after %d", c.next, c.skip), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{})
			w.plain(t)
			w.rows(t, 30_000, "u")
			w.fake.SetFaults(refusing(400, c.skip, c.next))
			require.EqualValues(t, 30_000, w.run(t).Sent)
			require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_rejects"))
			w.settled(t, "candu_interactions", "id")
		})
	}
}

// Any number of bad rows in a row, wherever the good ones are, is rejected, and nothing else.
func TestRun_BadRowsBesideGoodOnesAreRejected(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ before, bad, behind, size, status int }{
		{0, 1, 1, 1000, 400}, {1, 1, 0, 1000, 400}, {1000, 1, 0, 1000, 400}, {0, 21, 300, 1000, 413}, {5000, 21, 0, 10, 400}, {2000, 21, 9000, 1000, 400},
		{0, 5000, 100, 1000, 400}, {0, 5000, 1, 100, 413}, {100, 5000, 0, 1000, 400},
	} {
		t.Run(fmt.Sprintf("%d good, %d bad, %d good, batches of %d, %d", c.before, c.bad, c.behind, c.size, c.status), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{segment: fmt.Sprintf("batch_size: %d", c.size)})
			w.plain(t)
			w.rows(t, c.before, "u")
			w.rows(t, c.bad, "bad")
			w.rows(t, c.behind, "u")
			w.fake.SetFaults(poisoned(c.status))
			summary := w.run(t)
			require.EqualValues(t, c.before+c.behind, summary.Sent)
			require.EqualValues(t, c.bad, summary.Rejected)
			require.Equal(t, strconv.Itoa(c.bad), w.one(t, `select count(*) from candu_test.loader_rejects join candu_interactions on id::text = interaction_id
				where user_id = 'bad' and reason = 'refused_by_segment' and detail like $1`,
				fmt.Sprintf(`Segment answered %d %%; it said (application/json): {"error":"event refused","success":false}`, c.status)))
			w.settled(t, "candu_interactions", "id")
		})
	}
}

// A bad row that nothing is accepted beside is never rejected by itself.
func TestRun_ABadRowAloneWaitsForAGoodOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	w.rows(t, 10, "u")
	w.run(t)
	w.rows(t, 1, "bad")
	w.fake.SetFaults(poisoned(400))
	for range 2 {
		_, err := w.try(t, loader.RunOptions{})
		require.Equal(t, fault.Precondition, fault.KindOf(err), "%v", err)
		require.Contains(t, fault.HintOf(err), "rejected when another one is accepted beside it")
		require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_rejects"))
	}
	w.rows(t, 1, "u")
	summary := w.run(t)
	require.Equal(t, []int64{1, 1}, []int64{summary.Sent, summary.Rejected})
	w.settled(t, "candu_interactions", "id")

	t.Log("nor does trying it again by itself change anything")
	_, err := w.loader(t).RetryRejects(t.Context(), w.cfg.Sources[0], "")
	require.Equal(t, fault.Precondition, fault.KindOf(err), "%v", err)
	require.Equal(t, "refused_by_segment 1", w.one(t, "select reason || ' ' || attempts from candu_test.loader_rejects"))
}

// While a page waits for its judgement, what follows is sent. When as much is in flight as may be, an
// event that was accepted before is sent again to see that others still are, and not more often
// than need be.
func TestRun_WhatFollowsARefusalIsSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "page_size: 100", segment: "batch_size: 100\nconcurrency: 1"})
	w.plain(t)
	w.rows(t, 100, "bad")
	w.rows(t, 1000, "u")
	w.fake.SetFaults(poisoned(400))
	summary := w.run(t)
	require.EqualValues(t, 1000, summary.Sent)
	require.EqualValues(t, 100, summary.Rejected)
	require.LessOrEqual(t, w.fake.Stats().Duplicates, int64(8), "a witness was asked too often")
	w.settled(t, "candu_interactions", "id")
}

// Where one page is in flight, because a row of it can't be recorded, nothing follows that could be
// waited for.
func TestRun_ARefusedPageThatIsAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		refuse func(row int) bool
		kind   fault.Kind
	}{
		"all of it":  {func(row int) bool { return row <= 10 }, fault.Precondition},
		"some of it": {func(row int) bool { return row <= 9 }, fault.None},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLine(t, 40, "")
			l.exec(t, "create index on candu_test.screens ((1 / (tutorial_id - 5)))")
			l.look = func(rows []int) int {
				if slices.ContainsFunc(rows, c.refuse) {
					return 400
				}
				return 0
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			summary, err := l.loader(t).Run(ctx, l.cfg.Sources[0], loader.RunOptions{})
			require.NoError(t, ctx.Err(), "the run hangs")
			require.Equal(t, c.kind, fault.KindOf(err), "%v", err)
			if c.kind != fault.None {
				require.Equal(t, "0", l.one(t, "select count(*) from candu_test.loader_rejects where reason = 'refused_by_segment'"))
				return
			}
			require.NoError(t, err)
			require.Equal(t, []int64{31, 9}, []int64{summary.Sent, summary.Rejected})
			require.Equal(t, "8", l.one(t, "select count(*) from candu_test.loader_rejects where reason = 'refused_by_segment'"))
		})
	}
}
