package loader_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/trace"
)

func (w *world) explain(t *testing.T, id string) trace.Explanation {
	t.Helper()
	x, err := w.loader(t).Explain(t.Context(), w.cfg.Sources[0], id)
	require.NoError(t, err)
	return x
}

// known is a world whose messageIds are known: row 12345 has the vector of the contract.
func known(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, settings{source: "message_namespace: 6f1c2d3e-4a5b-4c6d-8e7f-901a2b3c4d5e"})
	w.plain(t)
	w.exec(t, `insert into candu_interactions values
		(12345, 'interaction', 'u1', 'a1', 7, 'Everyone', 3, 'abc', 'Upgrade plan Link Clicked', '2026-01-02T03:04:05.678901Z', '2026-01-02T04:00:00Z'),
		(2, 'view', null, null, 7, null, null, null, null, '2026-01-02T03:04:05Z', '2026-01-02T04:00:00Z')`)
	return w
}

const vector = "019b7ca9-8f2e-8833-8506-7dfc5e7c9046"

func TestExplain_Delivered(t *testing.T) {
	t.Parallel()
	w := known(t)
	summary := w.run(t)
	for _, id := range []string{"12345", vector, strings.ToUpper(vector)} {
		x := w.explain(t, id)
		require.Equal(t, trace.InMirror, x.Place)
		require.Equal(t, "12345", x.InteractionID)
		require.Equal(t, vector, x.MessageID)
		require.Equal(t, "interaction", x.Event.Kind)
		require.Len(t, x.Event.JSON, x.Event.Bytes)
		var sent struct {
			MessageID  string `json:"messageId"`
			Properties map[string]any
		}
		require.NoError(t, json.Unmarshal(x.Event.JSON, &sent))
		require.Equal(t, vector, sent.MessageID)
		require.Equal(t, "Upgrade plan Link Clicked", sent.Properties["eventName"])
		require.JSONEq(t, `{"id":12345,"kind":"interaction","user_id":"u1","anonymous_id":"a1","tutorial_id":7,"segment_id":"Everyone","portal_id":3,
			"version_id":"abc","event_name":"Upgrade plan Link Clicked","occurred_at":"2026-01-02T03:04:05.678901Z","exported_at":"2026-01-02T04:00:00Z"}`, string(x.Row))
		require.Len(t, x.Mirror, 1)
		require.Equal(t, "tutorial_interaction", x.Mirror[0].Table)
		require.Contains(t, string(x.Mirror[0].Row), `"event_name": "Upgrade plan Link Clicked"`)
		require.Len(t, x.Runs, 1)
		require.Equal(t, summary.RunID, x.Runs[0].ID)
		require.Regexp(t, `^Segment accepted it on 20\S+ \S+Z in run 1, and it stands in candu_test\.tutorial_interaction under id `+vector+`\.$`, x.Answer)
	}
}

func TestExplain_Rejected(t *testing.T) {
	t.Parallel()
	w := known(t)
	w.run(t)
	x := w.explain(t, "2")
	require.Equal(t, trace.InRejects, x.Place)
	require.Equal(t, "missing_identity", string(x.WouldReject.Reason))
	require.EqualValues(t, 1, x.Reject.Attempts)
	require.EqualValues(t, 1, x.Runs[0].ID)
	require.Regexp(t, `^It was not sent: missing_identity \(.*\), tried once, last on .*; mend the row in the export, then run .candu-loader rejects retry Candu_Test.\.$`, x.Answer)

	w.exec(t, "update candu_interactions set user_id = 'u' where id = 2")
	require.Contains(t, w.explain(t, "2").Answer, "its row was mended since")
	_, err := w.loader(t).RetryRejects(t.Context(), w.cfg.Sources[0], "")
	require.NoError(t, err)
	require.Contains(t, w.explain(t, "2").Answer, "in run 2, and it stands in candu_test.screens")
}

// What Segment refused has a messageId, and is found by it.
func TestExplain_RefusedBySegment(t *testing.T) {
	t.Parallel()
	w := known(t)
	w.insert(t, 3, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
	w.fake.SetFaults(fakesegment.Faults{Poison: []fakesegment.Poison{{MessageID: vector}}})
	w.run(t)
	for _, step := range []string{"its row is in the export", "its row is gone"} {
		x := w.explain(t, vector)
		require.Equal(t, trace.InRejects, x.Place, step)
		require.Equal(t, "refused_by_segment", x.Reject.Reason)
		require.Equal(t, "12345", x.InteractionID)
		require.Contains(t, x.Answer, "It was sent and refused: refused_by_segment (Segment answered 400 Bad Request; it said ", step)
		w.exec(t, "delete from candu_interactions where id = 12345")
	}
	require.Contains(t, w.explain(t, vector).Answer, "its row is gone from the export, so it can't be tried again")
}

func TestExplain_Pending(t *testing.T) {
	t.Parallel()
	w := known(t)
	t.Log("before the first run")
	x := w.explain(t, "12345")
	require.Equal(t, trace.Pending, x.Place)
	require.Equal(t, vector, x.MessageID)
	require.Contains(t, x.Answer, "no run has read anything yet, and there is no schema yet: `candu-loader migrate Candu_Test` makes it, then the next run sends it")
	require.Equal(t, trace.Pending, w.explain(t, vector).Place)
	require.Contains(t, w.explain(t, "2").Answer, "will reject it (missing_identity")
	require.Equal(t, "NULL", w.one(t, "select to_regnamespace('candu_test')"), "it writes nothing")

	w.run(t)
	w.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) values
		(3, 'view', 'u', 7, '2026-01-03Z', '2026-01-03T01:00:00Z'),
		(4, 'view', 'u', 7, '2026-01-03Z', '2026-01-02T03:50:00Z'),
		(5, 'view', 'u', 7, '2026-01-03Z', '2026-01-01T00:00:00Z')`)
	t.Log("after the watermark")
	x = w.explain(t, "3")
	require.Equal(t, trace.Pending, x.Place)
	require.False(t, x.Selection.Passed)
	require.Equal(t, "It waits: the watermark 2026-01-02 04:00:00Z has not reached it, and the next run sends it (`candu-loader run Candu_Test`).", x.Answer)
	require.Equal(t, trace.Pending, w.explain(t, x.MessageID).Place)
	t.Log("committed late, within lookback")
	x = w.explain(t, "4")
	require.Equal(t, trace.Pending, x.Place)
	require.True(t, x.Selection.Passed)
	t.Log("committed later than lookback")
	x = w.explain(t, "5")
	require.Equal(t, trace.Missing, x.Place)
	require.Contains(t, x.Answer, "passed it by more than lookback 15m, so it was committed late, or its row of the mirror was deleted;")
	w.run(t)
	require.Equal(t, trace.InMirror, w.explain(t, "3").Place)
	require.Equal(t, trace.InMirror, w.explain(t, "4").Place)
	require.Equal(t, trace.Missing, w.explain(t, "5").Place)
}

// The watermark stays behind the safe point, rows beyond it are delivered all the same.
func TestExplain_DeliveredBeyondTheSafePoint(t *testing.T) {
	t.Parallel()
	w := known(t)
	w.insert(t, 6, time.Now())
	w.run(t)
	x := w.explain(t, "6")
	require.Equal(t, trace.InMirror, x.Place)
	require.False(t, x.Selection.Passed)
	require.True(t, x.Selection.NextRunReadsIt)
	require.Contains(t, x.Answer, "the watermark has not reached it yet")
}

func TestExplain_GoneFromTheExport(t *testing.T) {
	t.Parallel()
	w := known(t)
	w.run(t)
	w.exec(t, "delete from candu_interactions")
	for _, id := range []string{"12345", vector} {
		x := w.explain(t, id)
		require.Equal(t, trace.InMirror, x.Place)
		require.Nil(t, x.Row)
		require.Equal(t, vector, x.MessageID)
		require.Contains(t, x.Answer, "its row is gone from the export")
	}
	require.Equal(t, trace.InRejects, w.explain(t, "2").Place)
	t.Log("the whole table is gone")
	w.exec(t, "drop table candu_interactions")
	x := w.explain(t, "12345")
	require.Contains(t, x.ExportError, "candu_interactions")
	require.Contains(t, x.Answer, "the export could not be asked")
	_, err := w.loader(t).Explain(t.Context(), w.cfg.Sources[0], "77")
	require.ErrorContains(t, err, "candu_interactions")
}

// A row whose time was changed makes another event; what was sent is found all the same.
func TestExplain_ChangedAfterwards(t *testing.T) {
	t.Parallel()
	w := known(t)
	w.run(t)
	w.exec(t, "update candu_interactions set occurred_at = occurred_at - interval '1 s' where id = 12345")
	x := w.explain(t, "12345")
	require.Equal(t, vector, x.Mirror[0].MessageID)
	require.NotEqual(t, vector, x.MessageID)
	require.Contains(t, x.Answer, "would make another event today")
}

func TestExplain_Excluded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "start_at: 2026-01-02"})
	w.plain(t)
	w.exec(t, "alter table candu_interactions alter exported_at drop not null")
	w.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) values
		(1, 'view', 'u', 7, '2026-01-01Z', '2026-01-01Z'), (2, 'view', 'u', 7, '2026-01-03Z', '2026-01-03Z'), (3, 'view', 'u', 7, '2026-01-03Z', null)`)
	for range 2 {
		x := w.explain(t, "1")
		require.Equal(t, trace.Excluded, x.Place)
		require.Contains(t, x.Answer, "it was exported before start_at 2026-01-02 00:00:00Z")
		require.Contains(t, w.explain(t, "3").Answer, "its exported_at is NULL")
		w.run(t)
	}
	require.Equal(t, trace.InMirror, w.explain(t, "2").Place)
}

// Before the first migration nobody knows the namespace, and so no messageId.
func TestExplain_WithoutNamespace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	w.insert(t, 1, time.Now().Add(-time.Hour))
	x := w.explain(t, "1")
	require.Equal(t, trace.Pending, x.Place)
	require.Empty(t, x.MessageID)
	require.NotContains(t, string(x.Event.JSON), "messageId")
	text, err := json.Marshal(x)
	require.NoError(t, err)
	require.Contains(t, string(text), `"mirror":[],"reject":null,"runs":[],"running":[]`)
}

func TestExplain_Nowhere(t *testing.T) {
	t.Parallel()
	w := known(t)
	for range 2 {
		for _, id := range []string{"77", "no number", "99999999999999999999", "019b7ca9-8f2e-8833-8506-7dfc5e7c9047", ""} {
			_, err := w.loader(t).Explain(t.Context(), w.cfg.Sources[0], id)
			require.ErrorContains(t, err, "no row or event with this id")
			require.Equal(t, fault.Precondition, fault.KindOf(err))
			require.Contains(t, fault.HintOf(err), "public.candu_interactions")
		}
		w.run(t)
	}
}
