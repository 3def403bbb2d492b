package postgres

import (
	"context"
	"time"
)

const (
	// soon and late bound how long a statement over a piece should take.
	soon, late = time.Second, 4 * time.Second
	// firstPieces is in how many pieces a span is cut at first.
	firstPieces = 32
)

// Span is a stretch of time along a key.
type Span struct{ From, To time.Time }

// InPieces does something with a span, piece by piece, each of which takes some seconds at most: so a
// signal ends it soon, and a server that cancels what takes long (a time limit, a standby that goes on
// replaying) lets smaller ones through. Of the first piece from is nil, of the last one to: nothing
// is left out at the ends. The zero span is one piece.
func InPieces(ctx context.Context, span Span, do func(ctx context.Context, from, to *time.Time) error) error {
	whole := span.To.Sub(span.From)
	step := max(whole/firstPieces, time.Second)
	var from *time.Time
	for at := span.From; ; {
		var to *time.Time
		if end := at.Add(step); whole > 0 && end.Before(span.To) {
			to = &end
		}
		began := time.Now()
		err := do(ctx, from, to)
		switch took := time.Since(began); {
		case TooSlow(err) && whole > 0 && step > time.Microsecond:
			step = max(min(step, whole)/2, time.Microsecond)
			continue
		case err != nil || to == nil:
			return err
		case took < soon:
			step = min(2*step, max(whole, step))
		case took > late:
			step = max(step/2, time.Microsecond)
		}
		from, at = to, *to
	}
}
