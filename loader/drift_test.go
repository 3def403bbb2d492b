package loader_test

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/preflight"
)

// asOwner is who is to run a remedy.
var asOwner = regexp.MustCompile(`As "[^"]+": `)

// errors lists what check calls an error.
func (w *world) errors(t *testing.T) (texts []string) {
	t.Helper()
	for _, f := range w.loader(t).Check(t.Context(), w.cfg.Sources[0], true) {
		if f.Level == preflight.LevelError {
			require.Equal(t, "schema_differs", f.Code, f.Text)
			texts = append(texts, f.Text)
		}
	}
	return texts
}

// Before anything is sent, run and check name what somebody did to the schema, with the statement
// that mends it, which does.
func TestRun_TheSchemaDrifted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ spoil, text, remedy string }{
		"a column is renamed": {
			`alter table screens rename user_id to customer`,
			`table "screens" has no column "user_id"`, `RENAME COLUMN "customer" TO "user_id";`,
		},
		"a column is dropped": {
			`alter table tracks drop received_at`,
			`table "tracks" has no column "received_at"`, `ADD COLUMN "received_at" timestamp with time zone;`,
		},
		"a column of the ledger is renamed": {
			`alter table loader_runs rename sent to sent_rows`,
			`table "loader_runs" has no column "sent"`, `RENAME COLUMN "sent_rows" TO "sent";`,
		},
		"a table is renamed": {
			`alter table screens rename to "Old screens"; create table notes (note text)`,
			`table "screens" is missing, and "Old screens" looks like it`, `ALTER TABLE "candu_test"."Old screens" RENAME TO "screens";`,
		},
		"a table of the ledger is renamed": {
			`alter table loader_rejects rename to rejected`,
			`table "loader_rejects" is missing, and "rejected" looks like it`, `ALTER TABLE "candu_test"."rejected" RENAME TO "loader_rejects";`,
		},
		"another type": {
			`alter table tracks alter received_at type timestamp`,
			`column "received_at" of table "tracks" is of type timestamp without time zone instead of timestamp with time zone`, `TYPE timestamp with time zone;`,
		},
		"no NULL": {
			`alter table screens alter anonymous_id set not null`,
			`column "anonymous_id" of table "screens" takes no NULL any more`, `DROP NOT NULL;`,
		},
		"a further column without NULL": {
			`alter table screens add team text not null`,
			`column "team" of table "screens", which is not candu-loader's, takes no NULL`, `DROP NOT NULL;`,
		},
		"a default is gone": {
			`alter table screens alter uuid_ts drop default`,
			`column "uuid_ts" of table "screens" has no default any more`, `SET DEFAULT now();`,
		},
		"the key is gone": {
			`alter table screens drop constraint screens_pkey`,
			`table "screens" has no primary key (id) any more`, `ADD PRIMARY KEY (id);`,
		},
		"a unique index": {
			`create unique index one_each on screens (user_id)`,
			`unique index "one_each" on table "screens" is not candu-loader's`, `DROP INDEX "candu_test"."one_each";`,
		},
		"a part is unique": {
			`create unique index one_each on screens (id, tutorial_id) where tutorial_id > 0; alter table tracks add constraint few unique (user_id)`,
			`(and 1 more difference)`, `DROP CONSTRAINT "few";`,
		},
		"a foreign key": {
			`create table people (id text primary key); alter table screens add constraint person foreign key (user_id) references people`,
			`foreign key "person" on table "screens"`, `DROP CONSTRAINT "person";`,
		},
		"a check": {
			`alter table screens add constraint few check (tutorial_id < 3)`,
			`check constraint "few" on table "screens"`, `DROP CONSTRAINT "few";`,
		},
		"rejects that are referred to": {
			`create table notes (id text references loader_rejects)`,
			`keeps its rows from being deleted`, `DROP CONSTRAINT "notes_id_fkey";`,
		},
		"a policy": {
			`alter table screens enable row level security; alter table screens force row level security; create policy mine on screens using (true)`,
			`policies of table "screens" hold for the loader's role`, `NO FORCE ROW LEVEL SECURITY;`,
		},
		"a rule": {
			`create rule quiet as on insert to tracks do instead nothing`,
			`rule "quiet" on table "tracks"`, `DROP RULE "quiet" ON "candu_test"."tracks";`,
		},
		"a privilege": {
			`revoke insert, select on loader_rejects from current_user`,
			`may not SELECT, INSERT on table "loader_rejects"`, `GRANT SELECT, INSERT ON "candu_test"."loader_rejects" TO`,
		},
		"a privilege of the ledger": {
			`revoke update on loader_leases from current_user`,
			`may not UPDATE on table "loader_leases"`, `GRANT UPDATE ON "candu_test"."loader_leases" TO`,
		},
		"the version can't be read": {
			`revoke select on loader_schema_migrations from current_user`,
			`may not SELECT on table "loader_schema_migrations"`, `GRANT SELECT`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, owner := owned(t, 5)
			owner.exec(t, "set search_path to candu_test; "+c.spoil)
			l.exec(t, "update candu_interactions set exported_at = now() - interval '1 h' where id = 1") // Something to do.
			found := strings.Join(l.errors(t), "\n")
			_, err := l.try(t, loader.RunOptions{})
			require.ErrorContains(t, err, c.text)
			require.Equal(t, fault.Precondition, fault.KindOf(err))
			require.Contains(t, fault.HintOf(err), c.remedy)
			require.NotContains(t, fault.HintOf(err), "candu-loader migrate")
			if !strings.Contains(c.text, "more") {
				require.Contains(t, found, c.text)
			}
			require.Zero(t, l.sent())
			require.Equal(t, "0", l.one(t, "select count(*) from candu_test.loader_runs"), "nothing was written")
			owner.exec(t, asOwner.ReplaceAllString(fault.HintOf(err), ""))
			require.Empty(t, l.errors(t))
			require.EqualValues(t, 5, l.run(t).Sent)
		})
	}
}

// owned is a line of which the schema is owned by a role that is no superuser, and the world of that
// role.
func owned(t *testing.T, rows int) (l *line, owner *world) {
	t.Helper()
	server, admin := loadertest.Shared(t), newWorld(t, settings{})
	role, database := loadertest.Role(t, server, "loader"), admin.one(t, "current_database()")
	admin.exec(t, "grant create on database "+database+" to "+role)
	l = newLineIn(t, rows, settings{url: admin.url, warehouse: server.URL(database, role)})
	return l, &world{db: loadertest.Pool(t, server.URL(database, role))}
}

// What harms nothing is no difference.
func TestRun_HarmlessAdditions(t *testing.T) {
	t.Parallel()
	l, owner := owned(t, 5)
	owner.exec(t, `set search_path to candu_test;
		alter table screens add team text, add loaded timestamptz not null default now(), add twice bigint generated always as (tutorial_id * 2) stored;
		create index on screens (user_id); create index on tracks ("timestamp") where user_id is not null;
		create unique index on screens (id, tutorial_id);
		comment on table screens is 'ours'; create view mine as select * from screens; create table notes (id text references tracks);
		alter table screens alter id set statistics 500; alter table loader_runs alter host drop not null;
		alter table screens enable row level security; create policy readers on screens for select using (user_id = 'x')`)
	require.Empty(t, l.errors(t))
	require.EqualValues(t, 5, l.run(t).Sent)
	// A trigger may be harmless: a trial tells.
	owner.exec(t, `create function candu_test.look() returns trigger language plpgsql as $$ begin return null; end $$;
		create trigger look after insert on candu_test.screens for each row execute function candu_test.look()`)
	require.Equal(t, preflight.LevelWarning, l.check(t)["schema_differs"].Level)
	l.exec(t, "insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) values (6, 'view', 'u', 6, now(), '2026-02-01Z')")
	require.EqualValues(t, 1, l.run(t).Sent)
}

// A trigger that swallows rows would leave them in neither place.
func TestRun_ATriggerThatSwallowsRows(t *testing.T) {
	t.Parallel()
	l := newLine(t, 30, "")
	l.exec(t, `create function candu_test.swallow() returns trigger language plpgsql as $$ begin
			if new.tutorial_id = 7 then return null; end if; return new; end $$;
		create trigger swallow before insert on candu_test.screens for each row execute function candu_test.swallow()`)
	for range 2 {
		_, err := l.try(t, loader.RunOptions{})
		require.Equal(t, fault.Precondition, fault.KindOf(err))
		require.ErrorContains(t, err, `table "screens" kept 9 of 10 rows`)
		require.Contains(t, fault.HintOf(err), "DROP TRIGGER")
	}
	require.Zero(t, l.sent())
	l.exec(t, "drop trigger swallow on candu_test.screens")
	l.run(t)
	l.inPlaces(t)
}

// What changes in mid-run is named as well.
func TestRun_TheSchemaDriftsMeanwhile(t *testing.T) {
	t.Parallel()
	for spoil, text := range map[string]string{
		"alter table candu_test.screens rename user_id to customer":                                    `has no column "user_id"`,
		"alter table candu_test.loader_state rename watermark_at to mark":                              `table "loader_state" has no column "watermark_at"`,
		"create unique index one_each on candu_test.screens (user_id) where tutorial_id > 40":          `unique index "one_each"`,
		raises("screens", "true", "raise exception 'closed' using errcode = 'insufficient_privilege'"): `trigger "refuse" on table "screens" may refuse or change rows`,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			l := newLine(t, 200, "")
			var once sync.Once
			l.look = func(rows []int) int {
				if rows[0] >= 41 {
					once.Do(func() { l.exec(t, spoil) })
				}
				return 0
			}
			_, err := l.try(t, loader.RunOptions{})
			require.Equal(t, fault.Precondition, fault.KindOf(err))
			require.ErrorContains(t, err, text)
			require.NotContains(t, fault.HintOf(err), "candu-loader migrate")
			sent := l.sent()
			_, err = l.try(t, loader.RunOptions{})
			require.ErrorContains(t, err, text)
			require.Equal(t, sent, l.sent())
		})
	}
}

// Rights that readers lost with a restore come back with the next run.
func TestRun_ReadersGetTheirRightsBack(t *testing.T) {
	t.Parallel()
	server := loadertest.Shared(t)
	l, _ := owned(t, 5)
	analyst := loadertest.Role(t, server, "analyst")
	l.cfg.Warehouse.Readers = []string{analyst}
	l.run(t)
	l.exec(t, "revoke select on candu_test.screens from "+analyst+"; revoke usage on schema candu_test from "+analyst)
	f := l.check(t)["readers_differ"]
	require.Equal(t, preflight.LevelWarning, f.Level)
	require.Contains(t, f.Hint, `GRANT USAGE ON SCHEMA "candu_test" TO "`+analyst)
	l.run(t)
	require.NotContains(t, l.check(t), "readers_differ")
	require.Equal(t, "true", l.one(t, "select has_table_privilege($1, 'candu_test.screens', 'select') and has_schema_privilege($1, 'candu_test', 'usage')", analyst))
}

// A schema of another role's is no all-clear.
func TestCheck_TheSchemaBelongsToAnother(t *testing.T) {
	t.Parallel()
	server := loadertest.Shared(t)
	l, owner := owned(t, 5)
	l.run(t)
	other := loadertest.Role(t, server, "other")
	l.exec(t, `do $$ declare r record; begin
		for r in select relname, relkind from pg_class where relnamespace = 'candu_test'::regnamespace and relkind in ('r', 'v') loop
			execute format('alter table candu_test.%I owner to `+other+`', r.relname);
		end loop; end $$; alter schema candu_test owner to `+other)
	found := l.errors(t)
	require.NotEmpty(t, found)
	l.exec(t, "grant usage on schema candu_test to "+owner.one(t, "current_user"))
	found = l.errors(t)
	require.Equal(t, l.one(t, "select count(*) from pg_tables where schemaname = 'candu_test'"), strconv.Itoa(len(found)), "each table of it")
	require.Contains(t, found[0], `, which belongs to "`+other+`"`)
	_, err := l.try(t, loader.RunOptions{})
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), `As "`+other+`": GRANT`)
	l.exec(t, asOwner.ReplaceAllString(fault.HintOf(err), ""))
	l.run(t)
}
