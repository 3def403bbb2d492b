package pages

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/candu-loader/candu-loader/loader/source"
)

func second(n int) time.Time { return time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC) }

func TestWatermark_StopsAtTheFirstPageBeyondItsSafePoint(t *testing.T) {
	t.Parallel()
	w := &watermark{}
	point := func(n int) source.SafePoint { return source.SafePoint{At: second(n), Visible: true} }
	mark := w.advance(point(10), source.After(second(5), "b"))
	require.Equal(t, second(5), mark.At)
	require.Equal(t, "b", *mark.ID)
	mark = w.advance(point(10), source.After(second(5), "a"))
	require.Equal(t, "a", *mark.ID, "in the order in which rows were read, whatever the ids")
	mark = w.advance(point(11), source.After(second(11), "c"))
	require.Equal(t, second(11), mark.At)
	require.Nil(t, mark.ID, "before every row of that moment: more may come")
	require.Nil(t, w.advance(point(60), source.After(second(20), "d")), "a later safe point says nothing about places that were passed")
	w.reachedEnd(point(60), 0)
	require.Equal(t, second(11), *w.completeUntil())
}

func TestWatermark_StaysWhileATransactionIsPrepared(t *testing.T) {
	t.Parallel()
	at := second(1)
	w := &watermark{place: source.At(at)}
	require.Nil(t, w.advance(source.SafePoint{At: second(10), Prepared: 1}, source.After(second(5), "a")))
	require.Nil(t, w.advance(source.SafePoint{At: second(10)}, source.After(second(6), "b")))
	w.reachedEnd(source.SafePoint{At: second(10)}, 0)
	require.Nil(t, w.completeUntil())
	require.Contains(t, w.heldBack, "prepared")
	require.Equal(t, at, w.place.At)
}

// Where late rows can't be seen, the newest row less lookback is as far as can be known: a
// replica that stopped shows no newer ones either.
func TestWatermark_BoundedByTheNewestRowWhereLateRowsAreHidden(t *testing.T) {
	t.Parallel()
	hidden := source.SafePoint{At: second(50), Reason: source.Replica}
	w := &watermark{}
	w.reachedEnd(hidden, 3*time.Second)
	require.Nil(t, w.completeUntil(), "nothing was ever read")
	w.advance(hidden, source.After(second(20), "a"))
	w.reachedEnd(hidden, 3*time.Second)
	require.Equal(t, second(17), *w.completeUntil())
	require.Contains(t, w.heldBack, "read from a replica")
}

// What a page passed while late rows were hidden, no later safe point can tell of.
func TestWatermark_OnceHiddenIsHiddenForTheRun(t *testing.T) {
	t.Parallel()
	w := &watermark{}
	w.advance(source.SafePoint{At: second(50), Reason: "a session hides"}, source.After(second(20), "a"))
	w.advance(source.SafePoint{At: second(51), Visible: true}, source.After(second(30), "b"))
	w.reachedEnd(source.SafePoint{At: second(52), Visible: true}, 3*time.Second)
	require.Equal(t, second(27), *w.completeUntil())
	require.Contains(t, w.heldBack, "a session hides")
}

// Whatever pages and safe points come, the watermark never goes back, and never
// passes the safe point of the page that it was set by.
func TestWatermark_NeverGoesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &watermark{}
		if rapid.Bool().Draw(t, "stored") {
			w.place = source.At(second(rapid.IntRange(0, 50).Draw(t, "at")))
		}
		last, page := w.place.At, 0
		for range rapid.IntRange(0, 20).Draw(t, "pages") {
			page += rapid.IntRange(0, 10).Draw(t, "step")
			safe := second(rapid.IntRange(0, 100).Draw(t, "safe"))
			mark := w.advance(source.SafePoint{At: safe, Prepared: rapid.Int64Range(0, 1).Draw(t, "prepared")}, source.After(second(page), "x"))
			if mark == nil {
				continue
			}
			require.False(t, mark.At.Before(last))
			require.False(t, mark.At.After(safe))
			require.True(t, mark.ID == nil || mark.At.Before(safe))
			last = mark.At
		}
	})
}
