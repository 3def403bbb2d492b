package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// What was delivered is found whether the ids lie close together or far apart.
func TestDelivered_CloseTogetherAndFarApart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	// Even numbers are screens, of the odd ones every third is a track.
	b.exec(t, "insert into screens (id) select 'id-' || lpad(n::text, 6, '0') from generate_series(0, 9998, 2) n")
	b.exec(t, "insert into tracks (id) select 'id-' || lpad(n::text, 6, '0') from generate_series(3, 9999, 6) n")
	ask := func(numbers ...int) map[string]struct{} {
		ids := make([]string, len(numbers))
		for i, n := range numbers {
			ids[i] = fmt.Sprintf("id-%06d", n)
		}
		asked := map[string]struct{}{}
		found, err := b.ledger.Delivered(t.Context(), ids)
		require.NoError(t, err)
		for _, id := range ids {
			if _, ok := found[id]; ok {
				asked[id] = struct{}{}
			}
		}
		return asked
	}
	keys := func(numbers ...int) map[string]struct{} {
		want := map[string]struct{}{}
		for _, n := range numbers {
			want[fmt.Sprintf("id-%06d", n)] = struct{}{}
		}
		return want
	}
	require.Equal(t, keys(4, 6, 8, 9), ask(9, 8, 7, 6, 5, 4))
	require.Equal(t, keys(0, 9998, 9999), ask(1, 9999, 0, 9998), "far apart")
	require.Equal(t, keys(0, 4002, 9999), ask(4001, 9999, 0, 4002, 4003, 9997))
	require.Empty(t, ask(20000, 20002))
}

// What reads alone waits out a restart in each of its questions, not in its first one alone.
func TestPatient_AsksAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	admin := loadertest.Pool(t, string(b.url))
	const others = "datname = current_database() and pid <> pg_backend_pid()"
	told := 0
	l := b.ledger.Patient(func(error, time.Duration) { told++ })
	for name, ask := range map[string]func() error{
		"Delivered":    func() error { _, err := l.Delivered(t.Context(), []string{"x"}); return err },
		"KnownRejects": func() error { _, err := l.KnownRejects(t.Context(), []string{"x"}); return err },
		"Differences":  func() error { _, err := l.Differences(t.Context()); return err },
		"Confirm":      func() error { return l.Confirm(t.Context()) },
		"Server":       func() error { _, err := l.Server(t.Context()); return err },
		"State":        func() error { _, err := l.State(t.Context()); return err },
	} {
		require.NoError(t, ask(), name)
		before := told
		_, err := admin.Exec(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where "+others)
		require.NoError(t, err)
		loadertest.Eventually(t, func() bool {
			var gone bool
			err := admin.QueryRow(t.Context(), "select not exists (select from pg_stat_activity where "+others+")").Scan(&gone)
			return err == nil && gone
		}, "the sessions to end")
		require.NoError(t, ask(), name)
		require.Greater(t, told, before, name)
	}
}
