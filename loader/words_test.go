package loader_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/preflight"
	"github.com/candu-loader/candu-loader/loader/trace"
)

// A run judges the rows that are new to it; check says which are, and that a run stops only where
// one does.
func TestCheck_JudgesWhatIsNew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	for id := range 100 {
		w.insert(t, id, day(1).Add(time.Duration(id)*time.Second))
	}
	require.EqualValues(t, 100, w.run(t).Sent)
	require.Contains(t, w.check(t), "rows_fit")

	t.Log("delivered rows became unfit")
	w.exec(t, "update candu_interactions set kind = 'seen'")
	found := w.check(t)["rows_rejected"]
	require.Equal(t, preflight.LevelWarning, found.Level)
	require.Contains(t, found.Text, "of the newest 100 rows none is new to a run; unfit among the others, which no run judges: 100 unknown_kind")
	require.Contains(t, found.Text, "(delivered before they became unfit: 100)")
	w.run(t)

	t.Log("a few rejects are no share, and then known")
	for id := range 19 {
		w.insert(t, 200+id, *day(2))
	}
	w.exec(t, "update candu_interactions set kind = 'seen' where id >= 200")
	found = w.check(t)["rows_rejected"]
	require.Equal(t, preflight.LevelWarning, found.Level)
	require.Contains(t, found.Text, "of the newest 119 rows 19 are new to a run, and 19 of these would be rejected: 19 unknown_kind")
	require.EqualValues(t, 19, w.run(t).Rejected)

	t.Log("late ones no run reads")
	for id := range 30 {
		w.insert(t, 300+id, day(1).Add(-time.Hour))
	}
	w.exec(t, "update candu_interactions set kind = 'seen' where id >= 300")
	found = w.check(t)["rows_rejected"]
	require.Equal(t, preflight.LevelWarning, found.Level)
	require.Contains(t, found.Text, "in loader_rejects already: 19, delivered before they became unfit: 100, exported before the place where a run begins to read: 30)")
	w.run(t)

	t.Log("a run stops")
	for id := range 20 {
		w.insert(t, 400+id, *day(3))
	}
	w.exec(t, "update candu_interactions set kind = 'seen' where id >= 400")
	found = w.check(t)["rows_rejected"]
	require.Equal(t, preflight.LevelError, found.Level)
	require.Contains(t, found.Text, "of the newest 169 rows 20 are new to a run, and 20 of these would be rejected")
	require.True(t, strings.HasSuffix(found.Text, "so a run would stop"), found.Text)
	summary, err := w.try(t, loader.RunOptions{})
	stopped(t, err)
	require.EqualValues(t, 39, summary.RowsLeft, "the whole page")
	require.Equal(t, summary.RowsRead, summary.AlreadyDelivered+summary.RejectedBefore+summary.RowsLeft)

	t.Log("explain says what keeps the row waiting")
	x := w.explain(t, "400")
	require.Equal(t, trace.Pending, x.Place)
	require.Contains(t, x.Answer, "has not reached it, and runs fail since ")
	require.Contains(t, x.Answer, `: rejecting 20 of 20 new rows of source "Candu_Test", more than max_rejected (20%)`)
	require.Contains(t, x.Answer, ". Once that is mended, the next run will reject it (unknown_kind: ")

	t.Log("the hint is YAML for its place, as it is")
	for _, hint := range []string{w.check(t)["kinds_unknown"].Hint, fault.HintOf(err)} {
		_, yaml, _ := strings.Cut(hint, "\n")
		yaml = strings.Replace(yaml, `["view"]`, `["view", "seen"]`, 1)
		yaml, _, _ = strings.Cut(yaml, "\nIf these rows")
		text := fmt.Sprintf("warehouse: {url: %q}\nsources:\n  - nickname: Candu_Test\n    write_key: key\n%s\n", w.url, yaml)
		cfg, err := config.Parse("test.yaml", []byte(text), func(string) (string, bool) { return "", false })
		require.NoError(t, err, text)
		require.Equal(t, []string{"view", "seen"}, cfg.Sources[0].Interactions.Kinds.View)
	}
}

// The remedies for an export that the role may not read can be run as they are printed.
func TestCheck_GrantsCanBePasted(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]string{
		"the table":  "grant usage on schema %[1]s to %[2]s",
		"the schema": "grant select on all tables in schema %[1]s to %[2]s",
		"a column":   "grant usage on schema %[1]s to %[2]s; grant select (id, kind, occurred_at, exported_at) on all tables in schema %[1]s to %[2]s",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, admin := loadertest.Shared(t), newWorld(t, settings{})
			role, database := loadertest.Role(t, server, "my-loader"), admin.one(t, "current_database()")
			admin.sample(t, loadertest.Export{Rows: 3})
			admin.exec(t, `create schema "My Export"; alter table candu_interactions set schema "My Export"`)
			admin.exec(t, fmt.Sprintf(spoil, `"My Export"`, pgx.Identifier{role}.Sanitize()))
			w := newWorld(t, settings{
				url: admin.url, source: fmt.Sprintf("interactions: {url: %q, table: My Export.candu_interactions}", server.URL(database, role)),
			})
			found := w.check(t)["export_unusable"]
			require.Contains(t, found.Text, "permission denied")
			admin.exec(t, found.Hint)
			require.NotContains(t, w.check(t), "export_unusable")
		})
	}
}

// Ids that are numbers are listed by their value.
func TestRejects_AreListedAsPeopleCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	w.exec(t, "alter table candu_interactions alter id type text")
	var want []string
	for _, id := range []string{"-7", "2", "9", "10", "00010", "450", "1000", "a10", "a9"} {
		want = append(want, id)
		w.exec(t, "insert into candu_interactions (id, kind, tutorial_id, occurred_at, exported_at) values ($1, 'view', 1, $2, $2)", id, *day(1))
	}
	for id := range 300 { // More than a page.
		want = append(want, "b"+strconv.Itoa(1000+id))
	}
	w.exec(t, "insert into candu_interactions (id, kind, tutorial_id, occurred_at, exported_at) select 'b' || n, 'view', 1, $1, $1 from generate_series(1000, 1299) n", *day(1))
	_, err := w.try(t, loader.RunOptions{MaxRejected: anything(t)})
	require.NoError(t, err)
	var ids []string
	require.NoError(t, w.loader(t).Rejects(t.Context(), w.cfg.Sources[0], "", func(r ledger.Reject) error {
		ids = append(ids, r.InteractionID)
		return nil
	}))
	want[3], want[4] = want[4], want[3] // Of one value: by the text.
	require.Equal(t, want, ids)
}

// No remedy has a place to fill in.
func TestRemedies_HaveNoPlaceholders(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"ledger", "source", "preflight", "pages", "postgres"} {
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, file := range files {
			if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
				continue
			}
			text, err := os.ReadFile(dir + "/" + file.Name())
			require.NoError(t, err)
			require.NotRegexp(t, `"[^"]*<(the|your|its) [^"]*"`, string(text), file.Name())
		}
	}
}
