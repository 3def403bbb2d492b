package loader_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/preflight"
)

// Each case is an export and trouble on the way; all end in the same invariants.
func TestRun_Stories(t *testing.T) {
	t.Parallel()
	quick := "retry_for: 30s"
	cases := map[string]struct {
		settings settings
		export   loadertest.Export
		faults   fakesegment.Faults
		sent     int64
	}{
		"bigint":        {export: loadertest.Export{Rows: 12_345}, sent: 12_345},
		"integer":       {export: loadertest.Export{Rows: 3_000, IDType: "integer"}, sent: 3_000},
		"uuid":          {export: loadertest.Export{Rows: 6_000, IDType: "uuid"}, sent: 6_000},
		"text":          {export: loadertest.Export{Rows: 6_000, IDType: "text"}, sent: 6_000},
		"pages of one":  {export: loadertest.Export{Rows: 40, Ties: 40}, settings: settings{source: "page_size: 1"}, sent: 40},
		"pages in ties": {export: loadertest.Export{Rows: 1_000, Ties: 300}, settings: settings{source: "page_size: 7"}, sent: 1_000},
		"no lookback":   {export: loadertest.Export{Rows: 2_000, IDType: "text"}, settings: settings{source: "lookback: 0s"}, sent: 2_000},
		"small batches": {export: loadertest.Export{Rows: 2_000}, settings: settings{segment: "batch_size: 17\nconcurrency: 8"}, sent: 2_000},
		"wide rows":     {export: loadertest.Export{Rows: 900, Wide: 30_000}, sent: 900},
		"429 with Retry-After": {export: loadertest.Export{Rows: 2_000}, settings: settings{segment: quick}, sent: 2_000,
			faults: fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Status, Status: 429, RetryAfter: 1, Next: 2}}}},
		"503s": {export: loadertest.Export{Rows: 3_000}, settings: settings{segment: quick}, sent: 3_000,
			faults: fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Status, Status: 503, Next: 3}}}},
		"reset before the answer": {export: loadertest.Export{Rows: 2_000}, settings: settings{segment: quick}, sent: 2_000,
			faults: fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.ResetBefore, Next: 2}}}},
		"reset after accepting": {export: loadertest.Export{Rows: 2_000}, settings: settings{segment: quick}, sent: 2_000,
			faults: fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.ResetAfter, Next: 2}}}},
		"answer cut off": {export: loadertest.Export{Rows: 2_000}, settings: settings{segment: quick}, sent: 2_000,
			faults: fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Cut, Next: 2}}}},
		"413 halves": {export: loadertest.Export{Rows: 2_000}, sent: 2_000,
			faults: fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Status, Status: 413, Next: 3}}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.settings)
			w.sample(t, c.export)
			w.fake.SetFaults(c.faults)
			summary := w.run(t)
			require.Equal(t, c.sent, summary.Sent)
			require.Equal(t, c.sent, summary.RowsRead)
			w.settled(t, "candu_interactions", "id")
		})
	}
}

func TestRun_ExportAndWarehouseApart(t *testing.T) {
	t.Parallel()
	export, warehouse := loadertest.Database(t), loadertest.Database(t)
	w := newWorld(t, settings{url: warehouse, source: "interactions: {url: \"" + export + "\", table: candu.rows}"})
	db := loadertest.Pool(t, export)
	_, err := db.Exec(t.Context(), "create schema candu")
	require.NoError(t, err)
	e := loadertest.Export{Table: "candu.rows", Rows: 500}
	require.NoError(t, e.Create(t.Context(), db))
	require.NoError(t, e.Fill(t.Context(), db))
	require.EqualValues(t, 500, w.run(t).Sent)
	require.Zero(t, w.run(t).Sent)
	require.Equal(t, "500", w.one(t, "select (select count(*) from candu_test.screens) + (select count(*) from candu_test.tracks)"))
}

func TestRun_OtherNamesAndTypes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: `
interactions:
  table: '"My Schema"."Rows"'
  columns: {id: "Key", kind: Typ, tutorial_id: tut, user_id: uid, occurred_at: at, exported_at: "Exported At"}
  kinds: {view: [Screen, seen], interaction: [Track]}`})
	w.exec(t, `create schema "My Schema"`)
	w.exec(t, `create type typ as enum ('Screen', 'seen', 'Track', 'other')`)
	w.exec(t, `create table "My Schema"."Rows" ("Key" text primary key, "Typ" typ, tut text, uid numeric, anonymous_id uuid,
		segment_id varchar(20), portal_id bigint, version_id char(4), event_name text, at timestamp, "Exported At" timestamp)`)
	w.exec(t, `insert into "My Schema"."Rows" values
		('a', 'Screen', '7', 12, null, 'Everyone', null, 'v1', null, '2026-01-02 03:04:05.678901', '2026-01-02 04:00:00'),
		('b', 'seen', '7', null, '00000000-0000-4000-8000-000000000001', null, 3, null, 'ignored', '2026-01-02 03:04:05', '2026-01-02 04:00:00'),
		('c', 'Track', '7', 12, null, '', null, null, 'Clicked', '2026-01-02 03:04:05', '2026-01-02 04:00:00'),
		('d', 'other', '7', 12, null, null, null, null, 'Clicked', '2026-01-02 03:04:05', '2026-01-02 04:00:00')`)
	summary := w.run(t)
	require.EqualValues(t, 3, summary.Sent)
	require.EqualValues(t, 1, summary.Rejected)
	require.Equal(t, []string{
		"a 12 NULL 7 Everyone NULL v1 2026-01-02 03:04:05.678901+00",
		"b NULL 00000000-0000-4000-8000-000000000001 7 NULL 3 NULL 2026-01-02 03:04:05+00",
	}, w.list(t, `select concat_ws(' ', loader_interaction_id, coalesce(user_id, 'NULL'), coalesce(anonymous_id, 'NULL'), tutorial_id,
		coalesce(segment_id, 'NULL'), coalesce(portal_id::text, 'NULL'), coalesce(version_id, 'NULL'), "timestamp" at time zone 'UTC' || '+00')
		from candu_test.tutorial_view order by 1`))
	require.Equal(t, []string{"d unknown_kind"}, w.list(t, `select interaction_id || ' ' || reason from candu_test.loader_rejects`))
	w.settled(t, `"My Schema"."Rows"`, `"Key"`)
}

func TestRun_MirrorRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "message_namespace: 6f1c2d3e-4a5b-4c6d-8e7f-901a2b3c4d5e"})
	w.plain(t)
	w.exec(t, `insert into candu_interactions values (12345, 'interaction', 'u1', 'a1', 7, 'Everyone', 3, 'abc', 'Upgrade plan Link Clicked', '2026-01-02T03:04:05.678901Z', '2026-01-02T04:00:00Z')`)
	w.run(t)
	require.Equal(t, "019b7ca9-8f2e-8833-8506-7dfc5e7c9046", w.one(t, "select id from candu_test.tracks"))
	require.Equal(t, "true", w.one(t, `select original_timestamp = "timestamp" and "timestamp" = '2026-01-02T03:04:05.678901Z'
		and sent_at <= received_at and received_at <= uuid_ts and uuid_ts <= now()
		and event = 'tutorial_interaction' and event_text = 'tutorial.interaction' and context_integration_name = 'candu'
		and context_integration_version = $1 and context_library_name = 'analytics-go' and context_library_version = '3.0.0'
		and user_id = 'u1' and anonymous_id = 'a1' and tutorial_id = 7 and segment_id = 'Everyone' and portal_id = 3 and version_id = 'abc'
		and event_name = 'Upgrade plan Link Clicked' and loader_interaction_id = '12345' from candu_test.tutorial_interaction`, loader.Version))
	require.Equal(t, "2026-01-02 04:00:00+00 12345", w.one(t, "select (watermark_at at time zone 'UTC')::text || '+00 ' || watermark_id from candu_test.loader_state"))
	require.JSONEq(t, `{"type":"track","messageId":"019b7ca9-8f2e-8833-8506-7dfc5e7c9046","userId":"u1","anonymousId":"a1","event":"tutorial.interaction",
		"timestamp":"2026-01-02T03:04:05.678901Z","properties":{"tutorialId":7,"segmentId":"Everyone","portalId":3,"versionId":"abc","eventName":"Upgrade plan Link Clicked"}}`,
		string(w.fake.Events()[0].Raw()))
}

func TestRun_Rejects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	w.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, event_name, occurred_at, exported_at) values
		(1, 'view', null, 1, null, '2026-01-01', '2026-01-01'),
		(2, 'click', 'u', 1, null, '2026-01-01', '2026-01-01'),
		(3, 'view', 'u', null, null, '2026-01-01', '2026-01-01'),
		(4, 'interaction', 'u', 1, '  ', '2026-01-01', '2026-01-01'),
		(5, 'view', 'u', 1, null, null, '2026-01-01'),
		(6, 'view', 'u', 1, null, '-infinity', '2026-01-01'),
		(7, 'interaction', 'u', 1, repeat('x', 40000), '2026-01-01', '2026-01-01'),
		(8, 'view', 'poison', 1, null, '2026-01-01', '2026-01-01'),
		(9, 'view', 'u', 1, null, '2026-01-01', '2026-01-01')`)
	w.fake.SetFaults(fakesegment.Faults{Poison: []fakesegment.Poison{{UserID: "poison"}}})
	summary := w.run(t)
	require.EqualValues(t, 1, summary.Sent)
	require.EqualValues(t, 8, summary.Rejected)
	require.Equal(t, []string{"1 missing_identity 1", "2 unknown_kind 1", "3 missing_tutorial_id 1", "4 missing_event_name 1", "5 invalid_timestamp 1",
		"6 invalid_timestamp 1", "7 event_too_large 1", "8 refused_by_segment 1"},
		w.list(t, "select interaction_id || ' ' || reason || ' ' || attempts from candu_test.loader_rejects order by 1"))
	require.JSONEq(t, `{"id": 1, "kind": "view", "user_id": null, "portal_id": null, "event_name": null, "segment_id": null, "version_id": null, "occurred_at": "2026-01-01T00:00:00Z", "tutorial_id": 1, "anonymous_id": null, "exported_at": "2026-01-01T00:00:00Z"}`,
		w.one(t, "select interaction from candu_test.loader_rejects where interaction_id = '1'"))
	w.settled(t, "candu_interactions", "id")
	require.Equal(t, "8", w.one(t, "select sum(attempts) from candu_test.loader_rejects"), "they don't come again each run")

	t.Log("rows that were mended go through, the others stay")
	w.exec(t, "update candu_interactions set user_id = 'u' where id = 1")
	w.exec(t, "delete from candu_interactions where id = 2")
	w.fake.SetFaults(fakesegment.Faults{})
	retried, err := w.loader(t).RetryRejects(t.Context(), w.cfg.Sources[0], "")
	require.NoError(t, err)
	require.EqualValues(t, 2, retried.Sent)
	require.Equal(t, []string{"2 2", "3 2", "4 2", "5 2", "6 2", "7 2"},
		w.list(t, "select interaction_id || ' ' || attempts from candu_test.loader_rejects order by 1"))
	w.settled(t, "candu_interactions", "id")
}

func TestRun_Limit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "page_size: 30"})
	w.plain(t)
	for i := range 10 {
		w.insert(t, i, time.Now()) // within lookback, so each run reads them again
	}
	for _, want := range []int64{4, 4, 2, 0} {
		summary, err := w.try(t, loader.RunOptions{Limit: 4})
		require.NoError(t, err)
		require.Equal(t, want, summary.Sent)
	}
	w.settled(t, "candu_interactions", "id")
}

func TestRun_StartAt(t *testing.T) {
	t.Parallel()
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	for start, want := range map[string]int64{"beginning": 3, "2026-01-02": 2, "2026-01-02T00:00:01Z": 1, "now": 0} {
		t.Run(start, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{source: "start_at: " + start + "\nlookback: 10d"})
			w.plain(t)
			for i := range 3 {
				w.insert(t, i, day(i+1))
			}
			require.Equal(t, want, w.run(t).Sent)
			require.Zero(t, w.run(t).Sent, "lookback does not reach before the start")
			w.insert(t, 9, time.Now())
			require.EqualValues(t, 1, w.run(t).Sent)
		})
	}
}

func TestRun_LateCommits(t *testing.T) {
	t.Parallel()
	// With lookback 0 only the safe point can catch the late row. Without it (the
	// watermark at the last row read) this test fails: row 2 lies behind row 3.
	w := newWorld(t, settings{source: "lookback: 0s"})
	w.plain(t)
	w.insert(t, 1, time.Now().Add(-time.Minute))

	begin := func() pgx.Tx {
		tx, err := w.db.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "select now()")
		require.NoError(t, err)
		return tx
	}
	insert := func(db interface {
		QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	}, id int,
	) {
		var at time.Time
		require.NoError(t, db.QueryRow(t.Context(), `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at)
			values ($1, 'view', 'u', 1, now(), now()) returning exported_at`, id).Scan(&at))
	}
	written, unwritten := begin(), begin()
	insert(written, 2)
	insert(w.db, 3) // later, and committed
	require.EqualValues(t, 2, w.run(t).Sent, "rows beyond the safe point go at once")
	require.Zero(t, w.run(t).Sent)
	insert(unwritten, 4)
	require.NoError(t, written.Commit(t.Context()))
	require.NoError(t, unwritten.Commit(t.Context()))
	require.EqualValues(t, 2, w.run(t).Sent, "rows that committed late are not missed")
	w.settled(t, "candu_interactions", "id")
}

func TestRun_FutureRowsDontDragTheWatermark(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 0s"})
	w.plain(t)
	w.insert(t, 1, time.Now().Add(48*time.Hour))
	w.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) values (3, 'view', 'u', 1, now(), 'infinity')`)
	require.EqualValues(t, 2, w.run(t).Sent)
	require.Equal(t, "true", w.one(t, "select watermark_at <= now() - interval '10 seconds' from candu_test.loader_state"))
	w.insert(t, 2, time.Now())
	require.EqualValues(t, 1, w.run(t).Sent)
	w.settled(t, "candu_interactions", "id")
}

func TestRun_PreparedTransactionHoldsTheWatermark(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "lookback: 0s"})
	w.plain(t)
	w.insert(t, 1, time.Now().Add(-time.Hour))
	w.exec(t, "begin; insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) values (2, 'view', 'u', 1, now(), now() - interval '2 hours'); prepare transaction 'held_"+w.one(t, "current_database()")+"'")
	require.EqualValues(t, 1, w.run(t).Sent)
	require.Equal(t, "NULL", w.one(t, "select watermark_at from candu_test.loader_state"))
	require.Contains(t, w.log.String(), "prepared transaction")
	// The remedy names it, and can be pasted.
	remedy, _, _ := strings.Cut(w.check(t)["prepared_transactions"].Hint, ";")
	require.Equal(t, "COMMIT PREPARED 'held_"+w.one(t, "current_database()")+"'", remedy)
	w.exec(t, remedy)
	require.EqualValues(t, 1, w.run(t).Sent)
	w.settled(t, "candu_interactions", "id")
}

func TestRun_ARowWithoutExportedAtIsWarnedOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	w.exec(t, "alter table candu_interactions alter exported_at drop not null")
	w.exec(t, "insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) values (1, 'view', 'u', 1, now(), null)")
	require.Zero(t, w.run(t).Sent)
	require.Contains(t, w.log.String(), "rows without exported_at are never read")
	require.Contains(t, w.log.String(), "rows=1")
}

func TestRun_SegmentStaysAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{segment: "retry_for: 0s\nbatch_size: 100\nconcurrency: 2"})
	w.sample(t, loadertest.Export{Rows: 1_000})
	w.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Status, Status: 500, Share: 0.3}}})
	summary, err := w.try(t, loader.RunOptions{})
	require.Equal(t, fault.Retryable, fault.KindOf(err))
	require.EqualValues(t, "failed", summary.Status)
	require.Equal(t, w.one(t, "select count(*) from ("+mirrored+") m"), w.one(t, "select sent from candu_test.loader_runs"), "what was accepted is mirrored, whatever came after it")
	w.fake.SetFaults(fakesegment.Faults{})
	before := w.fake.Stats()
	require.EqualValues(t, 1_000, summary.Sent+w.run(t).Sent)
	require.Zero(t, w.fake.Stats().Duplicates-before.Duplicates, "what was mirrored is not sent again")
	w.settled(t, "candu_interactions", "id")
}

func TestRun_Interrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{segment: "batch_size: 50\nconcurrency: 2", source: "page_size: 100"})
	w.sample(t, loadertest.Export{Rows: 5_000})
	w.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Delay, DelayMillis: 5}}})
	ctx, cancel := context.WithCancel(t.Context())
	summary, err := w.loader(t).Run(ctx, w.cfg.Sources[0], loader.RunOptions{First: true, Progress: func(p loader.Progress) {
		if p.Sent > 500 {
			cancel()
		}
	}})
	require.Equal(t, fault.Interrupted, fault.KindOf(err))
	require.EqualValues(t, "interrupted", summary.Status)
	require.Less(t, summary.Sent, int64(5_000))
	require.Equal(t, "interrupted", w.one(t, "select status from candu_test.loader_runs"))
	require.EqualValues(t, 5_000, summary.Sent+w.run(t).Sent, "what was in flight was finished and recorded")
	require.Zero(t, w.fake.Stats().Duplicates)
	w.settled(t, "candu_interactions", "id")
}

func TestRun_SecondLoaderIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.sample(t, loadertest.Export{Rows: 10})
	w.run(t)
	w.exec(t, "update candu_test.loader_leases set holder = 'elsewhere:1', expires_at = now() + interval '20 seconds'")
	_, err := w.try(t, loader.RunOptions{})
	require.Equal(t, fault.Busy, fault.KindOf(err))
	require.ErrorContains(t, err, "held by elsewhere:1 since ")
}

func TestRun_ATakeoverStopsTheOldHolder(t *testing.T) {
	t.Parallel()
	// The old holder goes on sending, but its token is behind, so it records
	// nothing. Without the check of the token in the recording transaction its page
	// would be committed, and this test fails.
	w := newWorld(t, settings{segment: "batch_size: 10\nconcurrency: 1", source: "page_size: 10"})
	w.sample(t, loadertest.Export{Rows: 200})
	w.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Delay, DelayMillis: 20}}})
	taken := false
	summary, err := w.loader(t).Run(t.Context(), w.cfg.Sources[0], loader.RunOptions{First: true, Progress: func(p loader.Progress) {
		if p.Sent >= 50 && !taken {
			taken = true
			w.exec(t, "update candu_test.loader_leases set holder = 'the other one', token = token + 1, expires_at = now() - interval '1 second'")
		}
	}})
	require.Equal(t, fault.Busy, fault.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "lost its lease")
	require.EqualValues(t, "failed", summary.Status)
	require.Equal(t, "running", w.one(t, "select status from candu_test.loader_runs"), "a zombie does not even write how it ended")
	w.fake.SetFaults(fakesegment.Faults{})
	w.run(t)
	require.Equal(t, "interrupted", w.one(t, "select status from candu_test.loader_runs where id = 1"))
	w.settled(t, "candu_interactions", "id")
}

func TestRun_NonUniqueIDsOfInheritingTables(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.sample(t, loadertest.Export{Rows: 10})
	w.exec(t, `create table older () inherits (candu_interactions);
		insert into older select * from candu_interactions where id = 7`)
	_, err := w.try(t, loader.RunOptions{})
	require.ErrorContains(t, err, `id "7" is there more than once`)
}

func TestRun_NonUniqueIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.sample(t, loadertest.Export{Rows: 10})
	w.exec(t, "alter table candu_interactions drop constraint candu_interactions_pkey")
	w.exec(t, "insert into candu_interactions select * from candu_interactions where id = 7")
	_, err := w.try(t, loader.RunOptions{})
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.ErrorContains(t, err, `id "7" is there more than once`)
	require.Zero(t, w.fake.Stats().Requests)
}

// Trouble that an operator has to mend: nothing is sent, nothing half-written.
func TestRun_Preconditions(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		settings settings
		prepare  string
		kind     fault.Kind
		text     string
		hint     string
		sent     bool
	}{
		"no table":       {kind: fault.Precondition, text: `looking for table "public"."candu_interactions": there is none in this database`, hint: "interactions.table"},
		"no column":      {prepare: "create table candu_interactions (id bigint, exported_at timestamptz, occurred_at timestamptz)", kind: fault.Precondition, text: `column "user_id" (user_id) is missing; column "anonymous_id"`, hint: "columns: {canonical: yours}"},
		"wrong type":     {prepare: create("id", "id point"), kind: fault.Precondition, text: `column "id" (id) is of type point, expected bigint, integer, uuid or text`, hint: "columns:"},
		"time is a date": {prepare: create("exported_at", "exported_at date"), kind: fault.Precondition, text: `column "exported_at" (exported_at) is of type date, expected timestamp with time zone`},
		"somebody else's schema": {prepare: create("", "") + "; create schema candu_test; create table candu_test.tracks (id text)", kind: fault.Precondition,
			text: `schema "candu_test" holds tables that candu-loader did not create: tracks`, hint: "schema: candu_test_loader"},
		"export unreachable": {settings: settings{source: `interactions: {url: "postgres://x@127.0.0.1:1/db"}`}, kind: fault.Precondition,
			text: `connecting to the export database "postgres://x@127.0.0.1:1/db"`, hint: "Check host and port"},
		"warehouse unreachable": {settings: settings{warehouse: "postgres://x:secret@127.0.0.1:1/db"}, prepare: create("", ""), kind: fault.Precondition,
			text: `connecting to the warehouse database "postgres://x:***@127.0.0.1:1/db"`, hint: "Check host and port"},
		"wrong write key": {settings: settings{fake: fakesegment.Options{WriteKeys: []string{"another"}, RefuseKeys: true}}, prepare: create("", ""), kind: fault.Precondition,
			text: "answer 401, the write key was refused", hint: "Check write_key", sent: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.settings)
			if c.prepare != "" {
				w.exec(t, c.prepare)
			}
			_, err := w.try(t, loader.RunOptions{})
			require.ErrorContains(t, err, c.text)
			require.Equal(t, c.kind, fault.KindOf(err))
			require.Contains(t, fault.HintOf(err), c.hint)
			require.NotContains(t, err.Error(), "secret")
			require.Zero(t, w.fake.Stats().Accepted)
			if c.sent {
				require.Equal(t, "0", w.one(t, "select count(*) from ("+mirrored+") m"))
				require.Equal(t, "0", w.one(t, "select count(*) from candu_test.loader_rejects"))
				return
			}
			require.Zero(t, w.fake.Stats().Requests)
			require.Equal(t, "0", w.one(t, "select count(*) from pg_tables where schemaname = 'candu_test' and tablename like 'loader%'"))
		})
	}
}

// create returns the DDL of an export with one row; column is replaced by definition.
func create(column, definition string) string {
	columns := []string{"id bigint", "kind text", "user_id text", "anonymous_id text", "tutorial_id int", "segment_id text", "portal_id int",
		"version_id text", "event_name text", "occurred_at timestamptz", "exported_at timestamptz"}
	for i, c := range columns {
		if column != "" && strings.HasPrefix(c, column+" ") {
			columns[i] = definition
		}
	}
	ddl := "create table candu_interactions (" + strings.Join(columns, ", ") + ")"
	if column == "" {
		ddl += "; insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) values (1, 'view', 'u', 1, now(), now())"
	}
	return ddl
}

func TestRun_LeastPrivileges(t *testing.T) {
	t.Parallel()
	server := loadertest.Shared(t)
	admin := newWorld(t, settings{})
	admin.sample(t, loadertest.Export{Rows: 20})
	role, analyst := loadertest.Role(t, server, "loader"), loadertest.Role(t, server, "analyst")
	database := admin.one(t, "current_database()")
	url := server.URL(database, role)
	w := newWorld(t, settings{url: url})
	w.cfg.Warehouse.Readers = []string{analyst}

	_, err := w.try(t, loader.RunOptions{})
	require.ErrorContains(t, err, "permission denied")
	require.Contains(t, fault.HintOf(err), "GRANT SELECT ON")
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	admin.exec(t, "grant select on candu_interactions to "+role)
	_, err = w.try(t, loader.RunOptions{})
	require.ErrorContains(t, err, "may not create schemas")
	require.Contains(t, fault.HintOf(err), `CREATE SCHEMA "candu_test" AUTHORIZATION`)
	admin.exec(t, "create schema candu_test authorization "+role)
	require.EqualValues(t, 20, w.run(t).Sent)

	reader := loadertest.Pool(t, server.URL(database, analyst))
	for _, object := range []string{"tracks", "tutorial_interaction", "screens", "tutorial_view"} {
		_, err := reader.Exec(t.Context(), "select * from candu_test."+object)
		require.NoError(t, err)
	}
	_, err = reader.Exec(t.Context(), "select * from candu_test.loader_state")
	require.ErrorContains(t, err, "permission denied")
	findings := w.loader(t).Check(t.Context(), w.cfg.Sources[0], true)
	codes := map[string]preflight.Finding{}
	for _, f := range findings {
		codes[f.Code] = f
	}
	require.Equal(t, preflight.LevelWarning, codes["safe_point_hidden"].Level)
	require.Contains(t, codes["safe_point_hidden"].Hint, "GRANT pg_read_all_stats TO")
}
