package ledger

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
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
