package pipeline

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
func TestIntake_SendsWhatIsInFlightOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		unique := rapid.Bool().Draw(t, "unique")
		s := NewIntake(IntakeConfig{Unique: unique})
		flying := map[string]bool{}
		var flights []*Classified
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			if len(flights) > 0 && rapid.Bool().Draw(t, "lands") {
				for i := range flights[0].Events {
					delete(flying, flights[0].Events[i].MessageID)
				}
				s.Done(flights[0])
				flights = flights[1:]
				continue
			}
			ids := rapid.SliceOfN(rapid.IntRange(0, 30), 0, 10).Draw(t, "ids")
			if unique {
				slices.Sort(ids)
				ids = slices.Compact(ids)
			}
			out := &Classified{}
			var want []string
			for _, n := range ids {
				id := fmt.Sprintf("id-%02d", n)
				out.Events = append(out.Events, event.Event{MessageID: id})
				if !flying[id] {
					want = append(want, id)
				}
				flying[id] = true
			}
			require.NoError(t, s.dropDelivered(context.Background(), out))
			var got []string
			for i := range out.Events {
				got = append(got, out.Events[i].MessageID)
			}
			require.Equal(t, want, got)
			require.Equal(t, len(ids)-len(want), out.Already)
			require.Equal(t, len(got) > 0, out.span != nil)
			flights = append(flights, out)
		}
		within := s.inFlight.within("", "z")
		require.ElementsMatch(t, slices.Collect(maps.Keys(flying)), slices.Collect(maps.Keys(within)))
	})
}

// A page that reaches into no other one: its ids are compared, and none is looked up.
func BenchmarkIntake_DropDelivered(b *testing.B) {
	const pages, rows = 8, 5_000
	var all [pages][]event.Event
	for i := range all {
		for range rows {
			all[i] = append(all[i], event.Event{MessageID: fmt.Sprintf("%d%s", i, uuid.NewString()[1:])})
		}
	}
	s := NewIntake(IntakeConfig{Unique: true})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		out := &Classified{Events: all[i%pages]}
		if err := s.dropDelivered(b.Context(), out); err != nil || len(out.Events) != rows {
			b.Fatal(err, len(out.Events))
		}
		if len(s.inFlight.spans) == 4 {
			s.inFlight.remove(s.inFlight.spans[0])
		}
	}
}
