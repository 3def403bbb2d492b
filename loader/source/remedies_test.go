package source

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// An index counts only if the planner can read a page off it in its order.
func TestMissingIndex_CountsWhatGivesTheOrder(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	for i, c := range []struct {
		index  string
		serves bool
	}{
		{"create index on $ (exported_at, id)", true},
		{"create index on $ (exported_at desc, id desc)", true},
		{"create index on $ (exported_at, id, kind desc)", true},
		{"create unique index on $ (exported_at, id)", true},
		{"create index on $ (exported_at, id) include (kind)", true},
		{"create index on $ using brin (exported_at, id)", false},
		{"create index on $ (exported_at) include (id)", false},
		{"create index on $ (exported_at, id desc)", false},
		{"create index on $ (exported_at desc, id)", false},
		{"create index on $ (exported_at nulls first, id)", false},
		{"create index on $ (exported_at desc nulls last, id desc nulls last)", false},
		{"create index on $ (exported_at, id) where kind = 'view'", false},
		{"create index on $ (exported_at, (id || ''))", false},
		{"create index on $ ((exported_at at time zone 'UTC'), id)", false},
		{"create index on $ (exported_at, id text_pattern_ops)", false},
		{"create index on $ (exported_at, id collate \"POSIX\")", false},
		{"create index on $ (kind, exported_at, id)", false},
		{"create index on $ (id, exported_at)", false},
		{"create index broken on $ (exported_at, id); update pg_index set indisvalid = false where indexrelid = 'broken'::regclass", false},
	} {
		relation := fmt.Sprintf("t%d", i)
		require.NoError(t, loadertest.Export{Table: "public." + relation, IDType: "text", NoIndex: true}.Create(t.Context(), db))
		// Else a table of no rows is scanned.
		execute(t, db, strings.ReplaceAll("alter table $ alter exported_at drop not null; "+c.index, "$", relation))
		s := open(t, url, relation, 10)
		missing, err := s.MissingIndex(t.Context())
		require.NoError(t, err)
		require.Equal(t, c.serves, missing == "", "%s: %s", c.index, missing)
		sql, args := s.table.pageSelect(s.table.columnList(numColumns), Cursor{}, 10)
		tx, err := db.Begin(t.Context())
		require.NoError(t, err)
		execute(t, tx, "set local enable_seqscan = off; set local enable_bitmapscan = off")
		var plan string
		require.NoError(t, tx.QueryRow(t.Context(), "explain (format json) "+sql, args...).Scan(&plan))
		require.Equal(t, c.serves, !strings.Contains(plan, `Sort"`), "what the planner thinks of: %s", c.index)
		require.NoError(t, tx.Rollback(t.Context()))
		s.Close()
	}
}

// remedied makes a kind of relation called export, and the table that is behind it, if there is one.
var remedied = map[string]struct {
	sql string
	// index, unique: what is there once the remedies were run; else what the remedy says.
	index, unique string
}{
	"a table":                                 {sql: "create table export ($)"},
	"a table that others inherit from":        {sql: "create table export ($); create table child () inherits (export); create index on child (exported_at, id)", unique: "No constraint reaches over a table and those that inherit from it."},
	"a table in partitions by id":             {sql: "create table export ($) partition by range (id); create table part partition of export for values from (0) to (9)"},
	"a table in partitions by something else": {sql: "create table export ($) partition by list (kind); create table part partition of export for values in ('view')", unique: "No constraint can keep it unique in all partitions"},
	"a table in partitions within partitions": {sql: "create table export ($) partition by range (id); create table part partition of export for values from (0) to (9) partition by list (kind); create table leaf partition of part default", unique: "No constraint can keep it unique in all partitions"},
	"a materialized view":                     {sql: "create table behind ($); create materialized view export as select * from behind"},
	"a view":                                  {sql: "create table behind ($); create view export as select * from behind", index: "On the table behind the view, under its names: CREATE INDEX CONCURRENTLY ON public.behind"},
	"a view over a view":                      {sql: "create table behind ($); create view between_ as select * from behind; create view export as select * from between_", index: "CREATE INDEX CONCURRENTLY ON public.behind"},
	"a view with names of its own":            {sql: "create table behind ($); alter table behind rename id to \"Key \"; alter table behind rename exported_at to at; create view export as select \"Key \" as id, at as exported_at, occurred_at, kind, user_id, anonymous_id, tutorial_id, segment_id, portal_id, version_id, event_name from (select * from behind) b", index: "(\"at\", \"Key \")"},
	"a view over a materialized view":         {sql: "create table behind ($); create materialized view matter as select * from behind; create view export as select * from matter", index: "CREATE INDEX CONCURRENTLY ON public.matter"},
	"a view over partitions":                  {sql: "create table behind ($) partition by range (id); create table part partition of behind for values from (0) to (9); create view export as select * from behind", index: "On the table behind the view, under its names: CREATE INDEX ON public.behind"},
}

// Every remedy is SQL that Postgres takes for that kind of relation, and it helps.
func TestRemedies(t *testing.T) {
	t.Parallel()
	for name, c := range remedied {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := loadertest.Database(t)
			db := loadertest.Pool(t, url)
			execute(t, db, strings.ReplaceAll(c.sql, "$", columns))
			reopen := func() *Source {
				s := open(t, url, "export", 10)
				t.Cleanup(s.Close)
				return s
			}
			s := reopen()
			missing, err := s.MissingIndex(t.Context())
			require.NoError(t, err)
			require.Contains(t, missing, "CREATE INDEX")
			require.Contains(t, missing, c.index)
			remedy(t, db, missing)
			missing, err = reopen().MissingIndex(t.Context())
			require.NoError(t, err)
			require.Empty(t, missing)

			id := s.table.sanitized(colID)
			if s.table.holds != nil {
				id = s.table.holds.id
			}
			execute(t, db, "insert into "+s.holds()+" ("+id+", kind) values (1, 'view')")
			if s.table.reads != nil && s.table.reads.kind == "m" {
				execute(t, db, "refresh materialized view "+s.table.reads.name)
			}
			remedy(t, db, s.table.NullStatement())
			unreadable, err := s.Unreadable(t.Context())
			require.NoError(t, err)
			require.Zero(t, unreadable)

			require.False(t, s.table.UniqueID)
			if c.unique != "" {
				require.Contains(t, s.table.UniqueStatement(), c.unique)
				return
			}
			remedy(t, db, s.table.UniqueStatement())
			require.Equal(t, s.table.kind != "v", reopen().table.UniqueID)
			require.Equal(t, s.table.kind == "v", reopen().table.KeyBehind())
		})
	}
}

// holds is the table that rows go into.
func (s *Source) holds() string {
	in, _ := s.table.rowsIn()
	return in.name
}

// remedy runs each of the statements of a hint.
func remedy(t *testing.T, db *pgxpool.Pool, hint string) {
	t.Helper()
	ran := 0
	for _, statement := range strings.SplitAfter(hint, ";") {
		for _, where := range []string{"On the table behind the view, under its names: ", "On the materialized view behind the view, under its names: ", "Then, here: "} {
			statement = strings.TrimPrefix(strings.TrimSpace(statement), where)
		}
		if statement != "" {
			execute(t, db, statement)
			ran++
		}
	}
	require.Positive(t, ran)
}

// Where no statement would help, none is offered.
func TestRemedies_OfViewsThatNoneHelps(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	execute(t, db, "create table a ("+columns+", primary key (id)); create index on a (exported_at, id); create table b (like a);"+
		"create view has_both as select * from a; create view in_two as select * from a union all select * from b; create view sorted as select * from a limit 5;"+
		"create view computed as select id, coalesce(exported_at, occurred_at) as exported_at, occurred_at, kind, user_id, anonymous_id, tutorial_id, segment_id, portal_id, version_id, event_name from (select * from a) x;"+
		"create foreign data wrapper nowhere; create server far foreign data wrapper nowhere; create table parted ("+columns+") partition by range (id);"+
		"create table within partition of parted for values from (0) to (9) partition by range (id); create foreign table far_part partition of within for values from (0) to (9) server far;"+
		"create view over_parts as select * from parted")
	for relation, want := range map[string][2]string{
		"has_both":   {"", "an index keeps them unique"},
		"in_two":     {"No index reaches", "No constraint reaches"},
		"computed":   {"No index reaches", "No constraint reaches"},
		"sorted":     {"has the index, but the view keeps", "an index keeps them unique"},
		"over_parts": {"On the server of foreign table public.far_part", "No constraint can keep it unique in all partitions"},
	} {
		s := open(t, url, relation, 10)
		missing, err := s.MissingIndex(t.Context())
		require.NoError(t, err)
		require.Equal(t, want[0] == "", missing == "", relation)
		require.Contains(t, missing, want[0], relation)
		require.Contains(t, s.table.UniqueStatement(), want[1], relation)
		require.Equal(t, relation == "has_both" || relation == "sorted", s.table.KeyBehind())
		s.Close()
	}
}

// What can't be made here is to be made where the rows are.
func TestRemedies_OfForeignTables(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	execute(t, db, "create foreign data wrapper nowhere; create server far foreign data wrapper nowhere; create foreign table far_away ("+columns+") server far;"+
		"create table parted ("+columns+") partition by range (id); create foreign table far_part partition of parted for values from (0) to (9) server far")
	for relation, want := range map[string]string{
		"far_away": "On the server of the foreign table, under its names there: ",
		"parted":   "On the server of foreign table public.far_part, under its names there: ",
	} {
		s := open(t, url, relation, 10)
		missing, err := s.MissingIndex(t.Context())
		require.NoError(t, err)
		require.Contains(t, missing, want)
		require.NotContains(t, s.table.UniqueStatement(), "ALTER TABLE \"public\".\"parted\"")
		s.Close()
	}
}

// A domain serves where what it is made of does, and so does a domain over a domain.
func TestKindLabels_OfADomain(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	require.NoError(t, loadertest.Export{}.Create(t.Context(), db))
	execute(t, db, `create type what as enum ('view', 'interaction'); create domain sort_of as what; create domain kind_of as sort_of;
		create domain number as bigint; create domain identifier as number;
		alter table candu_interactions alter kind type kind_of using kind::what, alter id type identifier;
		insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at) values (1, 'view', 'u', 1, now())`)
	s := open(t, url, "candu_interactions", 10)
	defer s.Close()
	labels, err := s.KindLabels(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"view", "interaction"}, labels)
	page, err := s.Page(t.Context(), After(time.Time{}, "0"))
	require.NoError(t, err)
	require.Len(t, page.Rows, 1)
	missing, err := s.MissingIndex(t.Context())
	require.NoError(t, err)
	require.Empty(t, missing)
}

// A materialized view WITH NO DATA is no passing trouble, and its remedy is run.
func TestPage_OfWhatWasNeverFilled(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	execute(t, db, "create table behind ("+columns+"); create materialized view matter as select * from behind with no data; create view over_it as select * from matter")
	for _, relation := range []string{"matter", "over_it"} {
		s := open(t, url, relation, 10)
		_, err := s.Page(t.Context(), After(time.Time{}, "0"))
		require.Equal(t, fault.Precondition, fault.KindOf(err))
		execute(t, db, fault.HintOf(err))
		_, err = s.Page(t.Context(), After(time.Time{}, "0"))
		require.NoError(t, err)
		execute(t, db, "refresh materialized view matter with no data")
		s.Close()
	}
}

// Postgres 18 makes generated columns virtual, unless they are told not to be, and no index of those.
func TestRemedies_OfGeneratedColumns(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	var version int
	require.NoError(t, db.QueryRow(t.Context(), "select current_setting('server_version_num')::integer").Scan(&version))
	kind := map[bool]string{true: "virtual", false: "stored"}[version >= 180000]
	rest := strings.Replace(columns, "exported_at timestamptz", "raw timestamp, exported_at timestamptz generated always as (raw at time zone 'UTC') "+kind, 1)
	require.NotEqual(t, columns, rest)
	execute(t, db, "create table generated ("+rest+"); create view over_it as select * from generated")
	for _, relation := range []string{"generated", "over_it"} {
		s := open(t, url, relation, 10)
		missing, err := s.MissingIndex(t.Context())
		require.NoError(t, err)
		require.Contains(t, s.Table().UniqueStatement(), "ADD UNIQUE", "the id is a plain column")
		if kind == "virtual" {
			require.Contains(t, missing, "virtual generated column")
		} else {
			require.Contains(t, missing, "CREATE INDEX")
			remedy(t, db, missing)
			execute(t, db, "drop index generated_exported_at_id_idx")
		}
		s.Close()
	}
}
