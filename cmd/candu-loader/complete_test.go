package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every command that takes nicknames completes them, without a word about what is wrong.
func TestCompletion_Nicknames(t *testing.T) {
	t.Parallel()
	b := &testBundle{}
	b.write(t, strings.ReplaceAll(offline, "secret-key", `"${NO_SUCH_VARIABLE}"`)+`
http: {listen: "${NO_SUCH_LISTEN:-127.0.0.1:8321}"}`)
	complete := func(words ...string) []string {
		code, out, log := b.call(t, append([]string{"__complete"}, words...)...)
		require.Equal(t, 0, code)
		require.NotContains(t, log, "NO_SUCH_VARIABLE")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		require.Equal(t, ":4", lines[len(lines)-1], "no file names")
		return lines[:len(lines)-1]
	}
	prod, eu := "Candu_Prod\tschema candu_prod", "Candu Prod (EU)\tschema candu_eu"
	for _, command := range []string{"check", "migrate", "run", "status", "dbt", "verify", "backfill --from 2026-01-01", "explain", "rejects list", "rejects retry"} {
		words := strings.Fields(command)
		require.Equal(t, []string{prod, eu}, complete(append(words, "")...), command)
		require.Equal(t, []string{prod}, complete(append(words, "candu_")...), command)
		require.Empty(t, complete(append(words, "x")...), command)
	}
	require.Equal(t, []string{eu}, complete("run", "Candu_Prod", ""), "each once")
	require.Empty(t, complete("explain", "Candu_Prod", ""), "an id is no nickname")
	require.Empty(t, complete("backfill", "--from", "2026-01-01", "Candu_Prod", ""))

	b.write(t, "sources: [")
	require.Empty(t, complete("run", ""))
	b.config += ".missing"
	require.Empty(t, complete("run", ""))
}
