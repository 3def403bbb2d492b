package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/trace"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	code, out, log := b.call(t, "explain", "Candu_A", "7")
	require.Equal(t, 0, code, log)
	require.Contains(t, out, "no run has read anything yet")

	code, _, _ = b.call(t, "run", "--first", "Candu_A")
	require.Equal(t, 0, code)
	code, out, log = b.call(t, "explain", "Candu_A", "7")
	require.Equal(t, 0, code, log)
	require.Regexp(t, `^Candu_A \(schema candu_a\): row 7
  source row   \{.*\}
  event today  tutorial\.\w+, \d+ bytes
               \{.*\}
  next run     (reads it|does not read it): the watermark .*
  mirror       candu_a\.\w+, id [0-9a-f-]{36}
               sent \S+ \S+Z, accepted \S+ \S+Z, mirrored \S+ \S+Z
  run          #1 manual succeeded, .*
Segment accepted it on .* in run 1, and it stands in candu_a\..*\.
$`, out)

	code, out, _ = b.call(t, "explain", "Candu_A", "7", "--json")
	require.Equal(t, 0, code)
	var x trace.Explanation
	require.NoError(t, json.Unmarshal([]byte(out), &x))
	require.Equal(t, trace.InMirror, x.Place)
	code, out, _ = b.call(t, "explain", "Candu_A", x.MessageID)
	require.Equal(t, 0, code)
	require.Contains(t, out, "row 7\n")

	code, out, log = b.call(t, "explain", "Candu_A", "nowhere")
	require.Equal(t, 3, code)
	require.Empty(t, out)
	require.Contains(t, log, `explaining "nowhere" of source "Candu_A": no row or event with this id`)
	require.Contains(t, log, "hint: ")

	for _, args := range [][]string{{"explain"}, {"explain", "Candu_A"}, {"explain", "Candu_C", "1"}} {
		code, _, _ = b.call(t, args...)
		require.Equal(t, 2, code, "%v", args)
	}
}
