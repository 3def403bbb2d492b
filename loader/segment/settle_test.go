package segment

import (
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/candu-loader/candu-loader/loader/fault"
)

// judged is what a server in memory answers: 400 to everything within a window of requests, and to
// what holds a bad event; and what it accepted.
type judged struct {
	bad      map[string]bool
	from, to int
	accepted map[string]int
	// inARow counts refusals since something was accepted.
	inARow, worst int
}

func (j *judged) answer(w http.ResponseWriter, _ *http.Request, number int, got arrival) {
	refuse := number >= j.from && number < j.to
	for _, id := range got.ids {
		refuse = refuse || j.bad[id]
	}
	if refuse {
		w.WriteHeader(http.StatusBadRequest)
		j.inARow++
		j.worst = max(j.worst, j.inARow)
		return
	}
	j.inARow = 0
	for _, id := range got.ids {
		j.accepted[id]++
	}
}

// Whatever is bad, and whenever something begins to refuse everything, and ends: no good event
// counts as refused, none is forgotten, and who refuses everything is not asked more than 50 times.
func TestSettle_AnyWindowOfRefusals(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.SampledFrom([]int{1, 2, 21, 100}).Draw(rt, "events")
		mix := rapid.SampledFrom([][]bool{{false}, {true}, {true, false}, {true, false, false, false, false, false}}).Draw(rt, "mix")
		bad := rapid.SliceOfN(rapid.SampledFrom(mix), n, n).Draw(rt, "bad")
		size := rapid.SampledFrom([]int{1, 2, 10, 40, 100}).Draw(rt, "batch size")
		window := rapid.IntRange(0, 3+2*n/size).Draw(rt, "window begins")
		j := &judged{from: window, to: window + rapid.SampledFrom([]int{0, 1, 2, 5, 30, 1_000_000}).Draw(rt, "window")}
		batches, err := j.judge(t, bad, size)
		if err != nil {
			require.Equal(rt, fault.Precondition, fault.KindOf(err))
		}
		settled(rt, batches, err == nil, j)
	})
}

// Who refuses everything is not asked more than 50 times, whatever the size of a batch, and no event
// counts as refused.
func TestSettle_ABlanketRefusalIsFoundQuickly(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 10, 100, 1000} {
		for _, from := range []int{0, 2, 5} {
			j := &judged{from: from, to: 1_000_000}
			batches, err := j.judge(t, make([]bool, 6000), size)
			require.Equal(t, fault.Precondition, fault.KindOf(err))
			require.ErrorContains(t, err, "whatever was in them: answer 400")
			require.Contains(t, fault.HintOf(err), "No row was rejected for it")
			require.LessOrEqual(t, j.worst, 50, "batches of %d, from request %d on", size, from)
			settled(t, batches, false, j)
			for _, b := range batches {
				require.Empty(t, b.Refused)
			}
		}
	}
}

// So few are refused that nobody need ask for a while: what was accepted before all of it says
// nothing about any of them.
func TestSettle_AFewRefusalsAreNoReasonToReject(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]int{{2, 1}, {3, 1}, {30, 1}, {12, 10}, {21, 10}} {
		j := &judged{from: 2, to: 1_000_000} // The first request is accepted.
		batches, err := j.judge(t, make([]bool, c[0]), c[1])
		require.Equal(t, fault.Precondition, fault.KindOf(err), "%d events in batches of %d", c[0], c[1])
		settled(t, batches, false, j)
		for _, b := range batches {
			require.Empty(t, b.Refused)
		}
	}
}

// judge sends events of which some are bad, and settles what is undecided.
func (j *judged) judge(t *testing.T, bad []bool, size int) (batches []*Batch, err error) {
	t.Helper()
	j.bad, j.accepted = map[string]bool{}, map[string]int{}
	inBubble(t, func(c *Config) { c.BatchSize = size }, j.answer, func(b *bubble) {
		events := b.events(b.t, len(bad))
		for i := range events {
			if bad[i] {
				j.bad[events[i].MessageID] = true
			}
		}
		for len(events) > 0 && err == nil {
			n := b.sender.Cut(events)
			batches = append(batches, &Batch{Events: events[:n]})
			err, events = b.sender.Send(b.t.Context(), nil, batches[len(batches)-1]), events[n:]
		}
		if err == nil {
			err = b.sender.Settle(b.t.Context(), nil, batches, nil)
		}
	})
	return batches, err
}

// settled checks what the batches say against what the server did.
func settled(t require.TestingT, batches []*Batch, all bool, j *judged) {
	for _, b := range batches {
		sum, bad := 0, 0
		for _, e := range b.Events {
			if j.bad[e.MessageID] {
				require.Zero(t, j.accepted[e.MessageID])
				bad++
			}
		}
		for _, r := range b.Refused {
			require.True(t, j.bad[b.Events[r.Index].MessageID], "a good event counts as refused")
			sum++
		}
		for _, i := range acceptedOf(*b) {
			require.Positive(t, j.accepted[b.Events[i].MessageID])
			sum++
		}
		for _, p := range b.open {
			require.False(t, all, "something is undecided")
			sum += p.to - p.from
		}
		require.Len(t, b.Events, sum, "each event stands in one place")
		if all {
			require.Len(t, b.Refused, bad)
		}
	}
}

// An event is sent again to ask whether anything is accepted only if nothing else says so.
func TestSettle_AsksWithWhatWasAccepted(t *testing.T) {
	t.Parallel()
	j := &judged{bad: map[string]bool{}, accepted: map[string]int{}}
	inBubble(t, nil, j.answer, func(b *bubble) {
		t := b.t
		events := b.events(t, 10)
		j.bad[events[9].MessageID] = true
		good, bad := &Batch{Events: events[:9]}, &Batch{Events: events[9:]}
		require.NoError(t, b.sender.Send(t.Context(), nil, good))
		require.NoError(t, b.sender.Send(t.Context(), nil, bad))
		require.True(t, b.sender.Doubtful([]*Batch{bad}))
		require.NoError(t, b.sender.Settle(t.Context(), nil, []*Batch{bad}, nil))
		require.Equal(t, []int{2, 1}, []int{j.accepted[events[0].MessageID], j.accepted[events[1].MessageID]})
		require.Len(t, bad.Refused, 1)
		require.Len(t, b.seen(), 4)

		t.Log("something else was accepted meanwhile")
		bad = &Batch{Events: events[9:]}
		require.NoError(t, b.sender.Send(t.Context(), nil, bad))
		require.NoError(t, b.sender.Send(t.Context(), nil, &Batch{Events: events[1:9]}))
		require.False(t, b.sender.Doubtful([]*Batch{bad}))
		require.NoError(t, b.sender.Settle(t.Context(), nil, []*Batch{bad}, nil))
		require.Equal(t, 2, j.accepted[events[0].MessageID])
		require.Len(t, bad.Refused, 1)
		require.Len(t, b.seen(), 7)
	})
}

// An acceptance that was under way when the refusal came says nothing about it.
func TestSettle_AnEarlierRequestIsNoWitness(t *testing.T) {
	t.Parallel()
	var d doubt
	events := (&testBundle{rules: rulesFor(NewEncoder(nil))}).events(t, 1)
	early := d.begin()
	d.begin()
	refused := d.refused()
	d.accepted(early, &events[0])
	require.False(t, d.since(refused))
	_, inARow := d.known()
	require.Equal(t, 1, inARow)
	d.accepted(d.begin(), &events[0])
	require.True(t, d.since(refused))
	_, inARow = d.known()
	require.Zero(t, inARow)
}

// Whoever sees the reject must know that Segment may have the event.
func TestSettle_SaysThatALostAttemptMayHaveBeenAccepted(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		0:   "Segment answered 400 Bad Request (an earlier attempt had no answer: it may have been accepted)",
		504: "Segment answered 400 Bad Request (an earlier attempt was answered 504: it may have been accepted)",
		202: "Segment answered 400 Bad Request (an earlier attempt was answered 202: it may have been accepted)",
		429: "Segment answered 400 Bad Request",
	} {
		bad := ""
		inBubble(t, nil, func(w http.ResponseWriter, _ *http.Request, number int, got arrival) {
			switch {
			case number == 1 && status == 0:
				panic(http.ErrAbortHandler)
			case number == 1:
				w.WriteHeader(status)
			case slices.Contains(got.ids, bad):
				http.Error(w, "event refused", http.StatusBadRequest)
			}
		}, func(b *bubble) {
			t := b.t
			events := b.events(t, 8)
			bad = events[5].MessageID
			d, err := deliver(t.Context(), b.sender, nil, events)
			require.NoError(t, err)
			require.Equal(t, []Refusal{{Index: 5, Detail: want, Said: "; it said (text/plain; charset=utf-8): event refused"}}, d.Refused)
		})
	}
}
