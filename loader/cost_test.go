package loader_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// logged returns a server of its own, and a function that returns the statements that it
// got since that was called last.
func logged(t *testing.T) (server *loadertest.Server, statements func() []string) {
	t.Helper()
	server, err := loadertest.Start(t.Context(), loadertest.Options{Settings: []string{"log_statement=all", "log_min_messages=log"}})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	seen := 0
	return server, func() []string {
		log := server.Log()
		var list []string
		for line := range strings.Lines(log[seen:]) {
			for _, mark := range []string{"LOG:  statement: ", "LOG:  execute "} {
				if _, text, found := strings.Cut(line, mark); found {
					// A line may hold several, as `begin; set local ...` does.
					list = append(list, strings.Split(strings.TrimSuffix(strings.TrimSpace(text), ";"), ";")...)
				}
			}
		}
		seen = len(log)
		return list
	}
}

// An hourly run that finds nothing must cost next to nothing.
func TestRun_AnEmptyRunTakesFewStatements(t *testing.T) {
	t.Parallel()
	server, statements := logged(t)
	w := newWorld(t, settings{url: loadertest.DatabaseOn(t, server), source: "lookback: 0s"})
	w.sample(t, loadertest.Export{Rows: 100})
	w.run(t)
	statements()
	require.Zero(t, w.run(t).RowsRead)
	made := statements()
	require.NotEmpty(t, made)
	// Among them is one for each connection, of the export and of the warehouse, that reads settings back.
	require.LessOrEqual(t, len(made), 24, strings.Join(made, "\n"))
}

// Of rows that are read again, and are in the mirror, nothing is read but the keys.
func TestRun_ReadsOnlyKeysOfWhatIsDelivered(t *testing.T) {
	t.Parallel()
	server, statements := logged(t)
	w := newWorld(t, settings{url: loadertest.DatabaseOn(t, server), source: "lookback: 60d\npage_size: 1000"})
	w.sample(t, loadertest.Export{Rows: 4_500, Ties: 1})
	w.run(t)
	statements()
	summary := w.run(t)
	require.EqualValues(t, 4_500, summary.RowsRead)
	require.EqualValues(t, 4_500, summary.AlreadyDelivered)
	keys, full := 0, 0
	made := statements()
	for _, s := range made {
		switch {
		case strings.Contains(s, `"event_name"`):
			full++
		case strings.Contains(s, `"id", "exported_at", "occurred_at"`):
			keys++
		}
	}
	require.Equal(t, 6, keys, "five pages, and the row at the watermark\n%s", strings.Join(made, "\n"))
	require.Equal(t, 1, full, "what was exported from the watermark's moment on")
}

// The limit holds for a whole run. What it does to the millisecond is tested in virtual
// time; here each of the four senders may be late with a batch on a busy machine.
func TestRun_KeepsTheRateLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{segment: "max_events_per_second: 1000\nconcurrency: 4"})
	w.sample(t, loadertest.Export{Rows: 3_000})
	began := time.Now()
	require.EqualValues(t, 3_000, w.run(t).Sent)
	const sent = `(select sent_at from candu_test.screens union all select sent_at from candu_test.tracks)`
	require.Empty(t, w.list(t, `select n || ' events in the second from ' || sent_at from (
		select sent_at, count(*) over (order by sent_at range between current row and interval '999 ms' following) as n from `+sent+` s) w
		where n > 1000 + 4 * 100`))
	require.Equal(t, "true", w.one(t, "select max(sent_at) - $1::timestamptz >= interval '2.9 s' from "+sent+" s", began))
}
