package loader_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/preflight"
)

// tenants is a world whose loader is a plain role, on an export of 100 rows whose owner is another one.
func tenants(t *testing.T, table string) (w *world, role, owner string) {
	t.Helper()
	plain := loadertest.Database(t)
	role, owner = loadertest.Role(t, loadertest.Shared(t), "reading"), loadertest.Role(t, loadertest.Shared(t), "owning")
	w = newWorld(t, settings{url: as(t, plain, role), source: "schema: candu_test\ninteractions: {url: \"" + as(t, plain, role) + "\", table: " + table + "}"})
	w.db = loadertest.Pool(t, plain)
	w.sample(t, loadertest.Export{Rows: 100})
	w.exec(t, fmt.Sprintf("grant create on database %s to %s", w.one(t, "select current_database()"), role))
	w.exec(t, fmt.Sprintf("grant pg_read_all_stats to %s; grant create, usage on schema public to %s; alter table candu_interactions owner to %[2]s; grant select on candu_interactions to %[1]s",
		role, owner))
	return w, role, owner
}

// refusedAlike says that check, run and verify refuse the export for the same reason, and returns the remedy.
func (w *world) refusedAlike(t *testing.T, code, text string) (hint string) {
	t.Helper()
	errors := slices.DeleteFunc(w.loader(t).Check(t.Context(), w.cfg.Sources[0], true), func(f preflight.Finding) bool {
		return f.Level != preflight.LevelError || f.Code == "schema_missing"
	})
	require.Len(t, errors, 1, "%+v", errors)
	require.Equal(t, code, errors[0].Code)
	require.Contains(t, errors[0].Text, text)
	_, err := w.try(t, loader.RunOptions{})
	require.ErrorContains(t, err, text)
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.Equal(t, errors[0].Hint, fault.HintOf(err))
	_, err = w.loader(t).Verify(t.Context(), w.cfg.Sources[0], loader.VerifyOptions{})
	require.ErrorContains(t, err, text)
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.Equal(t, errors[0].Hint, fault.HintOf(err))
	require.Zero(t, w.fake.Stats().Requests)
	return errors[0].Hint
}

// statements are those of a remedy, which stand between two blanks each.
func statements(hint string, n int) string {
	parts := strings.Split(hint, "  ")
	return parts[2*n+1]
}

// Rows that a policy hides from the loader, and rows that it might hide, are a refusal, and each remedy
// makes all of them visible.
func TestRun_RowSecurityOnTheExport(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		table, sql string
		remedies   []int
		since      int
	}{
		"hides half":           {"candu_interactions", "create policy p on candu_interactions using (id % 2 = 0)", []int{0, 1}, 0},
		"hides nothing":        {"candu_interactions", "create policy p on candu_interactions using (true)", []int{0, 1}, 0},
		"no policy":            {"candu_interactions", "", []int{0, 1}, 0},
		"forced on the owner":  {"candu_interactions", "alter table candu_interactions force row level security; alter table candu_interactions owner to READING", []int{0}, 0},
		"behind a view":        {"seen", "create view seen as select * from candu_interactions; alter view seen owner to READING", []int{0, 1}, 0},
		"behind views":         {"seen", "create view inner_one as select * from candu_interactions; alter view inner_one owner to READING; create view seen as select * from inner_one; grant select on seen to READING", []int{0, 1}, 0},
		"behind an invoker's":  {"seen", "create view seen with (security_invoker = on) as select * from candu_interactions; grant select on seen to READING", []int{0, 1}, 15},
		"a partitioned parent": {"whole", "create table whole (like candu_interactions) partition by range (id); alter table whole attach partition candu_interactions default; alter table whole enable row level security; alter table whole owner to OWNING; grant select on whole to READING", []int{0, 1}, 0},
	} {
		for _, n := range c.remedies {
			t.Run(fmt.Sprintf("%s, remedy %d", name, n), func(t *testing.T) {
				t.Parallel()
				w, role, owner := tenants(t, "public."+c.table)
				if w.one(t, "select current_setting('server_version_num')::int / 10000 >= "+strconv.Itoa(c.since)) == "false" {
					return // There is no such view.
				}
				w.exec(t, "alter table candu_interactions enable row level security")
				if c.sql != "" {
					w.exec(t, strings.NewReplacer("READING", role, "OWNING", owner).Replace(c.sql))
				}
				hint := w.refusedAlike(t, "export_row_security", "row-level security may hide rows")
				require.Contains(t, hint, "BYPASSRLS")
				remedy := statements(hint, n)
				w.exec(t, remedy)
				if strings.HasPrefix(remedy, "CREATE VIEW") {
					w.cfg.Sources[0].Interactions.Table.Name += "_for_candu"
				}
				require.EqualValues(t, 100, w.run(t).Sent)
				require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
			})
		}
	}
}

// Who sees all rows anyway is not refused.
func TestRun_RowSecurityThatHidesNothingFromUs(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"the owner":     "alter table candu_interactions owner to READING",
		"one of theirs": "grant OWNING to READING",
		"exempt":        "alter role READING bypassrls",
		"superuser":     "alter role READING superuser",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, role, owner := tenants(t, "public.candu_interactions")
			w.exec(t, "alter table candu_interactions enable row level security")
			w.exec(t, strings.NewReplacer("READING", role, "OWNING", owner).Replace(sql))
			require.EqualValues(t, 100, w.run(t).Sent)
			require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
			require.NotContains(t, strings.Join(w.codes(t), " "), "error")
		})
	}
}

// On the mirror, too, hidden rows are no proof; policies for readers are nothing to us.
func TestVerify_RowSecurityOnTheMirror(t *testing.T) {
	t.Parallel()
	w, role, owner := tenants(t, "public.candu_interactions")
	require.EqualValues(t, 100, w.run(t).Sent)
	w.exec(t, "alter table candu_test.screens enable row level security; create policy readers on candu_test.screens for select to "+owner+" using (tutorial_id = 1)")
	require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
	require.Empty(t, w.codes(t))

	for _, table := range []string{"screens", "tracks", "loader_state", "loader_rejects", "loader_runs"} {
		w.exec(t, "alter table candu_test."+table+" enable row level security; alter table candu_test."+table+" force row level security")
		_, err := w.loader(t).Verify(t.Context(), w.cfg.Sources[0], loader.VerifyOptions{})
		if table != "loader_runs" {
			require.Error(t, err, table)
			require.Equal(t, fault.Precondition, fault.KindOf(err), "%s: %v", table, err)
			require.Contains(t, fault.HintOf(err), "ROW LEVEL SECURITY", "%s: %v", table, err)
		}
		_, err = w.try(t, loader.RunOptions{})
		require.Equal(t, fault.Precondition, fault.KindOf(err), "%s: %v", table, err)
		require.Contains(t, fault.HintOf(err), "ROW LEVEL SECURITY", "%s: %v", table, err)
		require.Contains(t, w.codes(t), "error schema_differs", table)
		w.exec(t, "alter table candu_test."+table+" no force row level security")
	}
	require.NotEmpty(t, role)
}

// Functions behind the export that rely on the reader's search_path are named, with the statement that
// makes them right.
func TestRun_FunctionsBehindTheExport(t *testing.T) {
	t.Parallel()
	const view = "; create view seen as select id, kind, user_id, anonymous_id, tutorial_id, segment_id, portal_id, shown(version_id) as version_id, event_name, occurred_at, exported_at from candu_interactions; grant select on seen to READING"
	for name, c := range map[string]struct{ sql, function string }{
		"SQL, a function": {`create function helper(text) returns text language sql immutable as 'select $1';
			create function shown(text) returns text language sql as 'select helper($1)'` + view, "public.shown(text)"},
		"SQL that is not inlined": {`create table names (name text); grant select on names to READING;
			create function shown(text) returns text language sql volatile as 'select coalesce((select name from names limit 1), $1)'` + view, "public.shown(text)"},
		"PL/pgSQL, a table": {`create table names (name text); grant select on names to READING;
			create function shown(v text) returns text language plpgsql as 'begin return coalesce((select name from names limit 1), v); end'` + view, "public.shown(text)"},
		"PL/pgSQL, a type, beside one of the same name": {`create type mood as enum ('x'); create function shown(int) returns text language sql as 'select 1::text';
			create function shown(v text) returns text language plpgsql as 'declare m mood; begin return v; end'` + view, "public.shown(text)"},
		"the inner one": {`create function helper(text) returns text language sql immutable as 'select $1';
			create function "In ner"(v text) returns text language plpgsql as 'begin return helper(v); end';
			create function shown(text) returns text language sql as 'select public."In ner"($1)'` + view, `public."In ner"(text)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, role, _ := tenants(t, "public.seen")
			w.exec(t, "grant usage on schema public to "+role)
			w.exec(t, strings.ReplaceAll(c.sql, "READING", role))
			hint := w.refusedAlike(t, "export_search_path", "function "+c.function+" relies on the session's search_path")
			require.Contains(t, hint, "search_path: [public]")

			set := w.cfg.Sources[0].Interactions
			set.SearchPath = []string{"public"}
			w.cfg.Sources[0].Interactions = set
			require.Contains(t, w.codes(t), "warning search_path_set")
			require.EqualValues(t, 100, w.run(t).Sent)
			require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)

			w.cfg.Sources[0].Interactions.SearchPath = nil
			statement, _, _ := strings.Cut(hint, ";")
			w.exec(t, statement)
			w.settled(t, "candu_interactions", "id")
			require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
			require.NotContains(t, strings.Join(w.codes(t), " "), "search_path")
		})
	}
}

// A function that switches row_security on lets policies hide rows in silence; so is an export refused that reads a
// sample of its rows.
func TestRun_RefusesViewsThatHideRows(t *testing.T) {
	t.Parallel()
	const policy = "alter table candu_interactions enable row level security, force row level security; create policy p on candu_interactions using (id <= 10); "
	body := "language sql as 'select * from public.candu_interactions'"
	for name, c := range map[string]struct {
		sql, code, text string
		since           int
	}{
		"row_security": {policy + "create function f() returns setof candu_interactions security definer stable set row_security = on " + body + "; create view seen as select * from f()",
			"export_row_security", "function public.f() sets row_security = on", 0},
		"a function behind it": {policy + "create function f() returns setof candu_interactions security definer stable set row_security = '1' " + body +
			"; create function g() returns setof candu_interactions stable begin atomic select * from f(); end; create view seen as select * from g()",
			"export_row_security", "function public.f() sets row_security = on", 14},
		"a view behind it": {policy + "create function f() returns setof candu_interactions security definer stable set row_security = on " + body +
			"; create view inner_one as select * from f(); alter view inner_one owner to OWNING; create view seen as select * from inner_one",
			"export_row_security", "function public.f() sets row_security = on", 0},
		"a sample":               {"create view seen as select * from candu_interactions tablesample bernoulli (50)", "export_unusable", "public.seen reads a sample", 0},
		"a sample that is fixed": {"create view inner_one as select * from candu_interactions tablesample system (50) repeatable (1); create view seen as select * from inner_one", "export_unusable", "public.inner_one reads a sample", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, role, owner := tenants(t, "public.seen")
			if version := w.one(t, "select current_setting('server_version_num')::int / 10000"); c.since > 0 && version < strconv.Itoa(c.since) {
				return
			}
			w.exec(t, strings.ReplaceAll(c.sql, "OWNING", owner))
			w.exec(t, "grant select on seen to "+role)
			_, err := w.loader(t).Migrate(t.Context(), w.cfg.Sources[0], ledger.MigrateOptions{Create: true})
			require.NoError(t, err)
			w.made = true
			hint := w.refusedAlike(t, c.code, c.text)
			if c.code == "export_row_security" {
				w.exec(t, strings.Split(hint, "  ")[0])
				require.NotContains(t, w.levelled(t, "error"), "export_unusable")
			}
		})
	}
}
