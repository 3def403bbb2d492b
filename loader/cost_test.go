package loader_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// An hourly run that finds nothing must cost next to nothing.
func TestRun_AnEmptyRunTakesFewStatements(t *testing.T) {
	t.Parallel()
	server, err := loadertest.Start(t.Context(), loadertest.Options{Settings: []string{"log_statement=all", "log_min_messages=log"}})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	w := newWorld(t, settings{url: loadertest.DatabaseOn(t, server), source: "lookback: 0s"})
	w.sample(t, loadertest.Export{Rows: 100})
	w.run(t)
	before := len(server.Log())
	require.Zero(t, w.run(t).RowsRead)
	var statements []string
	for line := range strings.Lines(server.Log()[before:]) {
		for _, mark := range []string{"LOG:  statement: ", "LOG:  execute "} {
			if _, text, found := strings.Cut(line, mark); found {
				// A line may hold several, as `begin; set local ...` does.
				statements = append(statements, strings.Split(strings.TrimSuffix(strings.TrimSpace(text), ";"), ";")...)
			}
		}
	}
	require.NotEmpty(t, statements)
	require.LessOrEqual(t, len(statements), 12, strings.Join(statements, "\n"))
}
