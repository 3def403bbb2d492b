package pages

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/source"
)

func pageOf(first, rows int) *source.Page {
	page := &source.Page{}
	for i := range rows {
		page.Rows = append(page.Rows, event.Interaction{ID: strconv.Itoa(first + i)})
	}
	return page
}

// Whatever leads into a circle, and however long it is, it is noticed; rows that come twice alone are none.
func TestRepeats_NoticesEachCircle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before, circle, rows := rapid.IntRange(0, 100).Draw(t, "pages before"), rapid.IntRange(1, 60).Draw(t, "pages of the circle"), rapid.IntRange(1, 5).Draw(t, "rows")
		var r repeats
		for n := range before {
			row, _ := r.see(pageOf(n*rows, rows))
			require.Nil(t, row)
		}
		for n := 0; ; n++ {
			require.Less(t, n, 6*(before+circle)+6, "it takes some rounds")
			row, thrice := r.see(pageOf(1_000_000+n%circle*rows, rows))
			if thrice {
				require.GreaterOrEqual(t, n, 2*circle, "it was read twice before")
				require.NotNil(t, row)
				break
			}
		}
		r = repeats{}
		for n := range 2 * (before + 1) {
			_, thrice := r.see(pageOf(n%(before+1)*rows, rows))
			require.False(t, thrice)
		}
	})
}
