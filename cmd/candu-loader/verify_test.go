package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

func TestVerify_Command(t *testing.T) {
	t.Parallel()
	b := setup(t)

	code, _, log := b.call(t, "verify", "Candu_A")
	require.Equal(t, 3, code, log)
	require.Contains(t, log, `looking into schema "candu_a" of database `)

	code, _, log = b.call(t, "run", "--first", "Candu_A")
	require.Equal(t, 0, code, log)
	code, out, _ := b.call(t, "verify", "Candu_A")
	require.Equal(t, 0, code)
	require.Regexp(t, `^Candu_A: proved: 50 rows of the export, 50 mirrored, 0 rejected \(\d+\.\d s\)\n$`, out)

	for _, args := range [][]string{
		{"--from", "2026-02-01", "--to", "2026-01-01"},
		{"--from", "2026-02-01", "--to", "2026-02-01"},
		{"--from", "2026-02-30"},
		{"--to", "yesterday"},
	} {
		code, _, log = b.call(t, append([]string{"verify", "Candu_A"}, args...)...)
		require.Equal(t, 2, code, "%v: %s", args, log)
	}
	code, out, _ = b.call(t, "verify", "Candu_A", "--to", "2001-01-01")
	require.Equal(t, 0, code, "a range without rows")
	require.Contains(t, out, "nothing to prove: 0 rows of the export")

	db := loadertest.Pool(t, b.url)
	_, err := db.Exec(t.Context(), "insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) values (51, 'view', 'u', 1, '2001-01-01', now())")
	require.NoError(t, err)
	code, _, log = b.call(t, "run", "Candu_A")
	require.Equal(t, 0, code, log)
	code, out, _ = b.call(t, "verify", "Candu_A", "--to", "2001-01-02")
	require.Equal(t, 0, code)
	require.Regexp(t, `^Candu_A: nothing to prove, 1 row waiting \(1 of them sent and mirrored, and not settled yet: the watermark stays 10 s behind `+
		`the export's clock, and behind open transactions\): 0 rows of the export, 0 mirrored, 0 rejected \(`, out)
	_, err = db.Exec(t.Context(), "delete from candu_a.screens where id = (select max(id) from candu_a.screens)")
	require.NoError(t, err)
	code, out, _ = b.call(t, "verify", "Candu_A")
	require.Equal(t, 4, code)
	require.Contains(t, out, "Candu_A: not proved: 1 missing, 0 changed: 50 rows of the export, 49 mirrored, 0 rejected, 1 row waiting")

	code, out, _ = b.call(t, "verify", "Candu_A", "--json")
	require.Equal(t, 4, code)
	var result struct {
		Sources []struct {
			Proved           bool
			Missing, Doubled struct {
				Rows int
				IDs  []string
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &result))
	require.False(t, result.Sources[0].Proved)
	require.Equal(t, 1, result.Sources[0].Missing.Rows)
	require.NotNil(t, result.Sources[0].Doubled.IDs, "empty lists, not null")
}
