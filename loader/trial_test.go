package loader_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// raises is a trigger that refuses rows of the mirror; raise and what follows say how.
func raises(table, when, raise string) string {
	return `create or replace function candu_test.refuse() returns trigger language plpgsql as $$ begin
			if ` + when + ` then ` + raise + `; end if; return new; end $$;
		create trigger refuse before insert on candu_test.` + table + ` for each row execute function candu_test.refuse()`
}

// long is an id that no index takes: compressed it is as long.
const long = `(select string_agg(md5(i::text), '') from generate_series(1, 200) i)`

// longIDs lets the export have such ids.
const longIDs = `alter table candu_interactions drop constraint candu_interactions_pkey; drop index candu_interactions_exported_at_id_idx;
	alter table candu_interactions alter id type text; `

// inPlaces checks that every row is in exactly one place, and how often the rows went out that a
// run could not record.
func (l *line) inPlaces(t *testing.T, rejects ...string) {
	t.Helper()
	require.Empty(t, l.list(t, `select e.tutorial_id || ' is in ' || (
			(select count(*) from candu_test.screens s where s.tutorial_id = e.tutorial_id)
			+ (select count(*) from candu_test.loader_rejects r where (r.interaction ->> 'tutorial_id')::int = e.tutorial_id)) || ' places'
		from candu_interactions e where (select count(*) from candu_test.screens s where s.tutorial_id = e.tutorial_id)
			+ (select count(*) from candu_test.loader_rejects r where (r.interaction ->> 'tutorial_id')::int = e.tutorial_id) <> 1`))
	require.Equal(t, append([]string{}, rejects...), append([]string{}, l.list(t,
		`select (interaction ->> 'tutorial_id') || ' ' || reason from candu_test.loader_rejects order by (interaction ->> 'tutorial_id')::int`)...))
}

// again counts the sendings of rows beyond their first.
func (l *line) again() (times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.rows {
		times += n - 1
	}
	return times
}

// sent counts all sendings.
func (l *line) sent() (times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.rows {
		times += n
	}
	return times
}

// sixPages is what a crash, and the run that meets a fault first, sends again at most.
const sixPages = 60

// A row that the warehouse refuses, in the middle of a backlog: the run that meets it first sends
// at most six pages that it can't record, the next one none; the row ends in the rejects, and all
// others are loaded.
func TestRun_ARowThatCanNotBeRecorded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, spoil, detail string }{
		"a trigger raises": {
			before: raises("screens", "new.tutorial_id = 55", "raise exception 'not this one'"),
			detail: "the warehouse refuses it: not this one (P0001)",
		},
		"an id that no index takes": {
			before: `create index on candu_test.screens (loader_interaction_id)`,
			spoil:  longIDs + `update candu_interactions set id = ` + long + ` where tutorial_id = 55`,
			detail: `exceeds btree version 4 maximum 2704 for index "screens_loader_interaction_id_idx" (54000)`,
		},
		"an index on what can't be computed": {
			before: `create index on candu_test.screens ((1 / (tutorial_id - 55)))`,
			detail: "the warehouse refuses it: division by zero (22012)",
		},
		"a constraint that waits for the commit": {
			before: `create function candu_test.refuse() returns trigger language plpgsql as $$ begin
					if new.tutorial_id = 55 then raise 'late'; end if; return new; end $$;
				create constraint trigger refuse after insert on candu_test.screens initially deferred for each row execute function candu_test.refuse()`,
			detail: "the warehouse refuses it: late (P0001)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLine(t, 200, "")
			l.exec(t, c.before)
			if c.spoil != "" {
				l.exec(t, c.spoil)
			}
			l.meets(t)
			_, once := l.through(55)
			require.LessOrEqual(t, once, 1)
			l.run(t)
			l.inPlaces(t, "55 can_not_be_recorded")
			require.LessOrEqual(t, l.again(), sixPages)
			_, times := l.through(55)
			require.Equal(t, once, times, "it was not sent again")
			detail := l.one(t, "select detail from candu_test.loader_rejects")
			require.Contains(t, detail, c.detail)
			require.Contains(t, detail, "Segment may have accepted it")
			require.Equal(t, "NULL", l.one(t, "select unrecorded_at from candu_test.loader_state"))
			before := l.sent()
			l.run(t)
			require.Equal(t, before, l.sent())
		})
	}
}

// meets is the run that meets a fault first.
func (l *line) meets(t *testing.T) {
	t.Helper()
	_, err := l.try(t, loader.RunOptions{})
	require.Error(t, err)
	require.Equal(t, "0", l.one(t, "select count(*) from candu_test.loader_rejects"))
	require.NotEqual(t, "NULL", l.one(t, "select unrecorded_id from candu_test.loader_state"))
}

// Bytes that something in the warehouse has no sign for; the reject can't be kept whole either.
func TestRun_BytesThatTheWarehouseRefuses(t *testing.T) {
	t.Parallel()
	l := newLineIn(t, 200, settings{})
	l.exec(t, `create function candu_test.refuse() returns trigger language plpgsql as $$ begin
		if to_jsonb(new)::text like '%日本%' then raise 'character has no equivalent in encoding "LATIN1"' using errcode = '22P05'; end if;
		return new; end $$`)
	l.exec(t, `create trigger refuse before insert on candu_test.screens for each row execute function candu_test.refuse()`)
	l.exec(t, `create trigger refuse before insert on candu_test.loader_rejects for each row execute function candu_test.refuse()`)
	l.exec(t, `update candu_interactions set user_id = '日本' where tutorial_id = 55; update candu_interactions set kind = '日本' where tutorial_id = 57`)
	_, err := l.try(t, loader.RunOptions{})
	require.ErrorContains(t, err, "has no equivalent in encoding")
	l.run(t)
	require.LessOrEqual(t, l.again(), sixPages)
	require.Equal(t, "198", l.one(t, "select count(*) from candu_test.screens"))
	require.Equal(t, []string{`55 can_not_be_recorded {"id": "55"}`, `57 unknown_kind {"id": "57"}`},
		l.list(t, "select interaction_id || ' ' || reason || ' ' || interaction from candu_test.loader_rejects order by 1"))
}

// Where it is not about rows, the run that meets it first sends at most six pages that it can't
// record; each later one nothing that it can't, and none is rejected. The place is past when it is
// recorded, not when a row before it is: a late one comes first.
func TestRun_NoRowCanBeRecorded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ fault, mend, hint string }{
		"the disk is full": {
			fault: raises("screens", "new.tutorial_id >= 55", "raise exception 'could not extend file' using errcode = '53100'"),
			mend:  "drop trigger refuse on candu_test.screens", hint: "disk is full",
		},
		"a privilege is gone": {
			fault: "revoke insert on candu_test.screens from public, %s", mend: "grant insert on candu_test.screens to %s", hint: "GRANT INSERT",
		},
		"a table refuses all": {
			fault: raises("screens", "true", "raise exception 'closed'"),
			mend:  "drop trigger refuse on candu_test.screens", hint: "DISABLE TRIGGER",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, admin := loadertest.Shared(t), newWorld(t, settings{})
			role, database := loadertest.Role(t, server, "loader"), admin.one(t, "current_database()")
			admin.exec(t, "grant create on database "+database+" to "+role)
			l := newLineIn(t, 200, settings{
				url: admin.url, warehouse: server.URL(database, role), source: "page_size: 10\nlookback: 30d",
			})
			var once sync.Once
			l.look = func(rows []int) int {
				if rows[0] >= 41 {
					once.Do(func() { l.exec(t, strings.ReplaceAll(c.fault, "%s", role)) })
				}
				return 0
			}
			_, err := l.try(t, loader.RunOptions{})
			require.Error(t, err)
			// Late, before all others.
			l.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) values (1000, 'view', 'u', 1000, $1, $1)`, day(1))
			mirrored := func() string { return l.one(t, "select count(*) from candu_test.screens where tutorial_id < 1000") }
			for range 3 {
				recorded, before := mirrored(), l.sent()
				_, err = l.try(t, loader.RunOptions{})
				require.Equal(t, fault.Precondition, fault.KindOf(err), err)
				require.Contains(t, fault.HintOf(err), c.hint)
				if recorded == mirrored() {
					require.LessOrEqual(t, l.sent(), before+1, "but for the late row nothing is sent that can't be recorded")
				}
			}
			require.LessOrEqual(t, l.again(), sixPages)
			again := l.again()
			l.exec(t, strings.ReplaceAll(c.mend, "%s", role))
			l.run(t)
			l.run(t)
			require.LessOrEqual(t, l.again(), sixPages)
			require.GreaterOrEqual(t, l.again(), again)
			require.Equal(t, "201 0", l.one(t, "select (select count(*) from candu_test.screens) || ' ' || (select count(*) from candu_test.loader_rejects)"))
		})
	}
}

// A fault of the first page is found before anything is sent.
func TestRun_TheFirstPageIsTried(t *testing.T) {
	t.Parallel()
	l := newLine(t, 40, "")
	l.exec(t, raises("screens", "new.tutorial_id in (3, 4, 8)", "raise exception 'not these'"))
	l.run(t)
	l.inPlaces(t, "3 can_not_be_recorded", "4 can_not_be_recorded", "8 can_not_be_recorded")
	require.Equal(t, 37, l.sent(), "they were never sent")
	require.NotContains(t, l.one(t, "select string_agg(detail, '') from candu_test.loader_rejects"), "may have")

	before := l.sent()
	summary, err := l.loader(t).RetryRejects(t.Context(), l.cfg.Sources[0], "")
	require.NoError(t, err, "they are known, and a plain row could be recorded")
	require.Zero(t, summary.Sent)
	require.Equal(t, before, l.sent())
	l.exec(t, "drop trigger refuse on candu_test.screens")
	l.run(t)
	require.Equal(t, before, l.sent(), "only a retry sends them")
	summary, err = l.loader(t).RetryRejects(t.Context(), l.cfg.Sources[0], string("can_not_be_recorded"))
	require.NoError(t, err)
	require.EqualValues(t, 3, summary.Sent)
	l.inPlaces(t)
}

// If nothing of a page, of a kind, or twenty in a row can be recorded, it is not about the rows.
func TestRun_ItIsNotAboutTheRows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ table, when string }{
		"a page":          {"screens", "new.tutorial_id <= 50"},
		"twenty in a row": {"screens", "new.tutorial_id between 11 and 30"},
		"a kind":          {"tracks", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLineIn(t, 200, settings{source: "page_size: 50\nlookback: 0s"})
			l.exec(t, `update candu_interactions set kind = 'interaction', event_name = 'x' where tutorial_id in (7, 31)`)
			l.exec(t, raises(c.table, c.when, "raise exception 'closed'"))
			for range 2 {
				_, err := l.try(t, loader.RunOptions{})
				require.Equal(t, fault.Precondition, fault.KindOf(err), err)
				require.ErrorContains(t, err, "closed")
			}
			require.Zero(t, l.sent())
			require.Equal(t, "0", l.one(t, "select count(*) from candu_test.loader_rejects"))
			l.exec(t, "drop trigger refuse on candu_test."+c.table)
			l.run(t)
			require.Equal(t, 200, l.sent())
		})
	}
}

// A row that breaks a rule, under an id that no index takes, is kept and found again under it.
func TestRun_ARejectWithALongID(t *testing.T) {
	t.Parallel()
	l := newLine(t, 30, "")
	l.exec(t, longIDs+`update candu_interactions set user_id = null, id = `+long+` || tutorial_id where tutorial_id in (5, 6)`)
	l.run(t)
	l.inPlaces(t, "5 missing_identity", "6 missing_identity")
	require.True(t, l.verify(t, loader.VerifyOptions{}).Proved)
	id := l.one(t, "select id from candu_interactions where tutorial_id = 5")
	require.Equal(t, id, l.explain(t, id).Reject.InteractionID)
	l.exec(t, `update candu_interactions set user_id = 'u' where tutorial_id = 5`)
	summary, err := l.loader(t).RetryRejects(t.Context(), l.cfg.Sources[0], "")
	require.NoError(t, err)
	require.EqualValues(t, 1, summary.Sent)
	l.inPlaces(t, "6 missing_identity")
	require.True(t, l.verify(t, loader.VerifyOptions{}).Proved)
}

// A backfill that can't record is as careful the next time.
func TestBackfill_ARowThatCanNotBeRecorded(t *testing.T) {
	t.Parallel()
	l := newLine(t, 200, "")
	l.run(t)
	l.exec(t, "delete from candu_test.screens")
	l.exec(t, raises("screens", "new.tutorial_id = 55", "raise exception 'no'"))
	opts := loader.BackfillOptions{From: day(1), To: day(2)}
	_, err := l.loader(t).Backfill(t.Context(), l.cfg.Sources[0], opts)
	require.Error(t, err)
	first := l.again()
	summary := l.backfill(t, opts)
	require.Equal(t, ledger.RunSucceeded, summary.Status)
	l.inPlaces(t, "55 can_not_be_recorded")
	require.LessOrEqual(t, l.again()-200, sixPages)
	require.Equal(t, "NULL", l.one(t, "select unrecorded_at from candu_test.loader_state"))
	_, times := l.through(55)
	require.LessOrEqual(t, times, 2, "%d sendings by the first", first)
}
