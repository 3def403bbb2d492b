package loader

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/candu-loader/candu-loader/loader/event"
)

// Of the rows that pages in flight share, each is sent once, however the pages reach into
// one another; once a page has landed, the mirror alone knows of its rows.
func TestSorter_SendsWhatFliesOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		unique := rapid.Bool().Draw(t, "unique")
		s := &sorter{empty: true, unique: unique}
		flying := map[string]bool{}
		var flights []*sorted
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			if len(flights) > 0 && rapid.Bool().Draw(t, "lands") {
				for i := range flights[0].events {
					delete(flying, flights[0].events[i].MessageID)
				}
				s.land(flights[0].flight)
				flights = flights[1:]
				continue
			}
			ids := rapid.SliceOfN(rapid.IntRange(0, 30), 0, 10).Draw(t, "ids")
			if unique {
				slices.Sort(ids)
				ids = slices.Compact(ids)
			}
			out := &sorted{}
			var want []string
			for _, n := range ids {
				id := fmt.Sprintf("id-%02d", n)
				out.events = append(out.events, event.Event{MessageID: id})
				if !flying[id] {
					want = append(want, id)
				}
				flying[id] = true
			}
			require.NoError(t, s.dropDelivered(context.Background(), out))
			var got []string
			for i := range out.events {
				got = append(got, out.events[i].MessageID)
			}
			require.Equal(t, want, got)
			require.Equal(t, len(ids)-len(want), out.already)
			require.Equal(t, len(got) > 0, out.flight != nil)
			flights = append(flights, out)
		}
		within := s.flyingWithin("", "z")
		require.ElementsMatch(t, slices.Collect(maps.Keys(flying)), slices.Collect(maps.Keys(within)))
	})
}

// A page that reaches into no other one: its ids are compared, and none is looked up.
func BenchmarkSorter_DropDelivered(b *testing.B) {
	const pages, rows = 8, 5_000
	var all [pages][]event.Event
	for i := range all {
		for range rows {
			all[i] = append(all[i], event.Event{MessageID: fmt.Sprintf("%d%s", i, uuid.NewString()[1:])})
		}
	}
	s := &sorter{empty: true, unique: true}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		out := &sorted{events: all[i%pages]}
		if err := s.dropDelivered(b.Context(), out); err != nil || len(out.events) != rows {
			b.Fatal(err, len(out.events))
		}
		if len(s.flights) == 4 {
			s.land(s.flights[0])
		}
	}
}
