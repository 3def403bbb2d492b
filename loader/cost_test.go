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

// The limit holds for a whole run. What it does to the millisecond is tested in virtual
// time; here a batch may leave late on a busy machine, and the next one in time.
func TestRun_KeepsTheRateLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{segment: "max_events_per_second: 1000"})
	w.sample(t, loadertest.Export{Rows: 3_000})
	require.EqualValues(t, 3_000, w.run(t).Sent)
	const sent = `(select sent_at from candu_test.screens union all select sent_at from candu_test.tracks)`
	require.Empty(t, w.list(t, `select n || ' events in the second from ' || sent_at from (
		select sent_at, count(*) over (order by sent_at range between current row and interval '999 ms' following) as n from `+sent+` s) w
		where n > 1000 + 100`))
	require.Equal(t, "true", w.one(t, "select max(sent_at) - min(sent_at) >= interval '2.9 s' from "+sent+" s"))
}
