package pipeline

import (
	"context"

	"github.com/candu-loader/candu-loader/loader/segment"
)

// inOrder passes on the pages whose batches were sent, in the order in which they were read. A page
// of which something was refused waits while what follows is sent, for a refusal is judged by what
// is accepted beside it: until something is accepted, or as much is in flight as may be. A page that is
// alone has nothing that follows, and what it has must do.
func (p *Pipeline) inOrder(ctx context.Context, parcels <-chan *parcel, sent chan<- *parcel) {
	defer close(sent)
	var ahead []*parcel
	for {
		var next *parcel
		if len(ahead) > 0 {
			next, ahead = ahead[0], ahead[1:]
		} else if next = take(parcels); next == nil {
			return
		}
		if batches := next.undecided(); len(batches) > 0 {
			for len(ahead) < pagesInFlight-1 && !next.alone && p.Sender.Doubtful(batches) {
				following := take(parcels)
				if following == nil {
					break
				}
				ahead = append(ahead, following)
			}
			p.settle(ctx, next, ahead)
		}
		sent <- next
	}
}

// take returns the next page when its batches were sent, nil after the last one.
func take(parcels <-chan *parcel) *parcel {
	next, ok := <-parcels
	if !ok {
		return nil
	}
	next.sent.Wait()
	return next
}

// undecided lists the page's batches that are neither accepted nor refused.
func (p *parcel) undecided() (batches []*segment.Batch) {
	for _, b := range p.batches {
		if b.Undecided() && b.err == nil {
			batches = append(batches, &b.Batch)
		}
	}
	return batches
}

// settle decides what is undecided of a page.
func (p *Pipeline) settle(ctx context.Context, page *parcel, ahead []*parcel) {
	var others []*segment.Batch
	for _, following := range ahead {
		others = append(others, following.undecided()...)
	}
	err := p.Sender.Settle(ctx, p.wanted.Done(), page.undecided(), others)
	if err != nil {
		p.halt(err)
	}
	for _, pages := range [][]*parcel{{page}, ahead} {
		for _, one := range pages {
			for _, b := range one.batches {
				p.account(b)
				if one == page && b.Undecided() && b.err == nil {
					b.err = err
				}
			}
		}
	}
	p.tell()
}
