package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

func TestForget_Command(t *testing.T) {
	t.Parallel()
	b := setup(t)
	code, _, log := b.call(t, "forget", "Candu_A", "--user-id", "user-1")
	require.Equal(t, 3, code, "no schema: %s", log)
	code, _, log = b.call(t, "run", "--first", "Candu_A")
	require.Equal(t, 0, code, log)
	db := loadertest.Pool(t, b.url)
	_, err := db.Exec(t.Context(), `update candu_interactions set user_id = 'o''neil', anonymous_id = 'device' where id in (1, 2);
		update candu_a.screens set user_id = 'o''neil', anonymous_id = 'device' where loader_interaction_id in ('1', '2', '3');
		update candu_a.screens set user_id = null where loader_interaction_id = '3'`)
	require.NoError(t, err)
	var views int
	require.NoError(t, db.QueryRow(t.Context(), "select count(*) from candu_a.screens where user_id = 'o''neil'").Scan(&views))

	for _, args := range [][]string{
		{"forget"}, {"forget", "Candu_A"}, {"forget", "Nowhere", "--user-id", "x"}, {"forget", "Candu_A", "--user-id", " \t"}, {"forget", "Candu_A", "--user-id", ""},
		{"forget", "Candu_A", "--user-id", "x", "--anonymous-id", "y"}, {"forget", "Candu_A", "--anonymous-id", "y", "--with-anonymous-ids"},
		{"forget", "Candu_A", "--anonymous-id", "\u00a0"},
	} {
		code, out, _ := b.call(t, args...)
		require.Equal(t, 2, code, "%v", args)
		require.Empty(t, out)
	}

	code, out, log := b.call(t, "forget", "Candu_A", "--user-id", "o'neil", "--dry-run")
	require.Equal(t, 0, code, log)
	require.Contains(t, out, "dry run: nothing was changed. What would be done in schema candu_a:\n")
	require.Contains(t, out, "the same command with --with-anonymous-ids")

	code, out, log = b.call(t, "forget", "Candu_A", "--user-id", "o'neil")
	require.Equal(t, 0, code, log)
	require.Regexp(t, `^receipt [0-9a-f]{12}: forgotten in schema candu_a on \S+ \S+Z by \S+\n  screens +\d+  identity erased\n`, out)
	require.Contains(t, out, `UPDATE "public"."candu_interactions" SET "user_id" = NULL, "anonymous_id" = NULL WHERE btrim("user_id"::text) IN ('o''neil');`)
	require.Contains(t, out, `-d '{"regulationType":"SUPPRESS_WITH_DELETE","subjectIds":["o'\''neil"],"subjectType":"USER_ID"}'`)
	require.Contains(t, out, `VACUUM "candu_a".tracks`)
	require.Contains(t, out, "  candu-loader forget Candu_A --anonymous-id device\n")

	code, out, _ = b.call(t, "forget", "Candu_A", "--anonymous-id", "nobody", "--json")
	require.Equal(t, 0, code)
	var result struct {
		loader.Receipt
		Error *jsonError
	}
	require.NoError(t, json.Unmarshal([]byte(out), &result))
	require.Zero(t, result.Rows.Sum())
	require.Len(t, result.Number, 12)
	require.Equal(t, "anonymous_id", result.Identity)
	require.Nil(t, result.Error)
	require.Contains(t, result.Remains[1].Command, `"subjectType":"ANONYMOUS_ID"`)
	code, out, _ = b.call(t, "forget", "Candu_A", "--anonymous-id", "nobody")
	require.Equal(t, 0, code)
	require.Contains(t, out, "had been forgotten before\n")
	require.Contains(t, out, "nothing here named them; they are remembered as forgotten all the same\n")
}
