package segment

import (
	"slices"
	"sync"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/failpoint"
)

// doubt is what the answers to a source's requests say about its refusals: something that
// refuses everything says nothing about the event that it refused. Time is counted in beginnings
// and ends of requests, so that it is known what came after what.
type doubt struct {
	mu  sync.Mutex
	now int64
	// acceptedAt is when the youngest request began that was accepted.
	acceptedAt int64
	// refusals are when something was refused since the beginning of that request.
	refusals []int64
	// flying counts the requests under way.
	flying int
	// witness is an event that was accepted, nil if none was.
	witness *event.Event
}

func (d *doubt) begin() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now++
	d.flying++
	return d.now
}

// accepted notes that the request was accepted that began then.
func (d *doubt) accepted(began int64, first *event.Event) {
	row := *first.Row // The event shall not keep its page in memory.
	witness := *first
	witness.Row = &row
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flying--
	d.acceptedAt = max(d.acceptedAt, began)
	d.refusals = slices.DeleteFunc(d.refusals, func(at int64) bool { return at < began })
	d.witness = &witness
}

// refused notes a refusal, and returns when it was.
func (d *doubt) refused() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flying--
	d.now++
	d.refusals = append(d.refusals, d.now)
	return d.now
}

// failed notes a request that says nothing about acceptance.
func (d *doubt) failed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flying--
}

// many reports whether so much was refused in a row that nothing more may be tried before
// something is accepted.
func (d *doubt) many() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	most := maxInARow
	if d.witness == nil {
		most -= samples
	}
	return len(d.refusals) > 0 && len(d.refusals)+d.flying >= most && !failpoint.Without("beside")
}

// since reports whether a request was accepted that began after at.
func (d *doubt) since(at int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.acceptedAt > at || failpoint.Without("beside")
}

// known returns an event that was accepted, nil if there is none, and how many requests were
// refused since the last one that was accepted began.
func (d *doubt) known() (witness *event.Event, inARow int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.witness, len(d.refusals)
}
