package pipeline

import (
	"context"
	"slices"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// Classified is a page of which each row is classified: to send, to reject, or dealt with
// before.
type Classified struct {
	Page *source.Page
	// Number is that of [ledger.Answers.Page]; Asked says that an answer kept rows from being sent.
	Number int64
	Asked  bool
	// Events are to be sent. They point into the page.
	Events   []event.Event
	Rejected []ledger.Rejected
	// Already counts rows that are in the mirror, or on their way there.
	Already int

	// watermark may be stored once the page, and all before it, are recorded; nil = it stays.
	watermark *ledger.Watermark
	// known are the rows that were rejected before.
	known map[string]ledger.KnownReject
	// before are the places in the page of those of them that are as they were.
	before []int
	// delivered are rows that were rejected before, and are found in the mirror.
	delivered []string
	// span is in flight until the page is recorded; nil if there are no events.
	span *span
}

// fresh counts the rows that are new.
func (c *Classified) fresh() int { return len(c.Events) + len(c.Rejected) }

// RejectedBefore counts rows that were rejected before and are as they were.
func (c *Classified) RejectedBefore() int { return len(c.before) }

// classify classifies the rows of a page. It asks the ledger once for the rejects, and once
// for what was delivered.
func (in *Intake) classify(ctx context.Context, number int64, page *source.Page) (*Classified, error) {
	out := &Classified{Page: page, Number: number, Already: page.Passed, Asked: page.Passed > 0}
	if len(page.Rows) == 0 {
		return out, nil
	}
	if err := in.findKnown(ctx, out); err != nil {
		return nil, err
	}
	inherited, err := in.inherited(ctx, out)
	if err != nil {
		return nil, err
	}
	out.Events = make([]event.Event, 0, len(page.Rows))
	for i := range page.Rows {
		row := &page.Rows[i]
		before, wasRejected := out.known[row.ID]
		if inherited[row] {
			out.Already++
			if wasRejected {
				out.delivered = append(out.delivered, row.ID)
			}
			continue
		}
		made, reject := in.config.Rules.Convert(row)
		switch {
		case reject != nil && wasRejected && before.Reason == string(reject.Reason) && !in.config.Retrying,
			reject == nil && wasRejected && event.Reason(before.Reason).Stays() && !in.config.Retrying:
			out.before = append(out.before, i)
		case reject != nil:
			object, err := page.Object(i)
			if err == nil && reject.Reason == event.Forgotten {
				object, err = event.WithoutIdentity(object)
			}
			if err != nil {
				return nil, err
			}
			out.Rejected = append(out.Rejected, ledger.Rejected{
				InteractionID: row.ID, MessageID: in.config.Rules.MessageID(row), Reason: reject.Reason, Detail: reject.Detail, Interaction: object, Attempts: before.Attempts + 1,
			})
		default:
			out.Events = append(out.Events, made)
		}
	}
	// Whoever is rejected now may be exported again, mended.
	in.config.HasRejects = in.config.HasRejects || len(out.Rejected) > 0
	return out, in.dropDelivered(ctx, out)
}

// inherited returns the rows of the page that the mirror has under ids of the schemas that this one is
// a copy of, nil if it is none.
func (in *Intake) inherited(ctx context.Context, c *Classified) (map[*event.Interaction]bool, error) {
	if len(in.config.Originals) == 0 {
		return nil, nil
	}
	rows := map[string]*event.Interaction{}
	var ids []string
	for i := range c.Page.Rows {
		for _, id := range event.MessageIDs(in.config.Originals, &c.Page.Rows[i]) {
			rows[id], ids = &c.Page.Rows[i], append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	if err := in.findLast(ctx); err != nil {
		return nil, err
	}
	found, err := in.delivered(ctx, c.Number, newSpan(ids))
	inherited := map[*event.Interaction]bool{}
	for id := range found {
		if row := rows[id]; row != nil {
			inherited[row], c.Asked = true, true
		}
	}
	return inherited, err
}

// findKnown asks for the rows of the page that were rejected before. Where no row ever was,
// nobody is asked.
func (in *Intake) findKnown(ctx context.Context, c *Classified) (err error) {
	if !in.config.HasRejects || in.config.Answers == nil {
		return nil
	}
	ids := make([]string, len(c.Page.Rows))
	for i := range c.Page.Rows {
		ids[i] = c.Page.Rows[i].ID
	}
	c.known, err = in.config.Answers.KnownRejects(ctx, c.Number, ids)
	c.Asked = c.Asked || len(c.known) > 0
	return err
}

// dropDelivered takes out what is in the mirror or on its way there, be it to send or to reject:
// what was delivered is no reject, whatever became of the row since. Only ids up
// to the greatest known one can be; on a first load of an ordered export that is none.
func (in *Intake) dropDelivered(ctx context.Context, c *Classified) error {
	asked := newSpan(c.messageIDs(in.config.Resend))
	if len(asked.ids) == 0 {
		return nil
	}
	if err := in.findLast(ctx); err != nil {
		return err
	}
	// Before the mirror is asked: what is recorded meanwhile was either in flight or is found.
	inFlight := in.inFlight.within(asked.first, asked.last)
	found, err := in.delivered(ctx, c.Number, asked)
	if err != nil {
		return err
	}
	in.last = max(in.last, asked.last)
	c.dropRejected(found, inFlight)
	if in.config.Resend {
		return nil
	}
	c.dropEvents(found, inFlight, in.config.Unique)
	if len(c.Events) > 0 {
		if len(c.Events) < len(asked.ids) {
			asked = newSpan(c.messageIDs(false))
		}
		c.span = asked
		in.inFlight.add(asked)
	}
	return nil
}

// messageIDs returns the ids of the events, unless they are sent in any case, and of the rejects.
func (c *Classified) messageIDs(resend bool) []string {
	ids := make([]string, 0, len(c.Events)+len(c.Rejected))
	for i := range c.Events {
		if !resend {
			ids = append(ids, c.Events[i].MessageID)
		}
	}
	for i := range c.Rejected {
		if id := c.Rejected[i].MessageID; id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// findLast asks for the greatest id once, and again where somebody else may record greater ones.
func (in *Intake) findLast(ctx context.Context) error {
	if in.config.Answers == nil || in.asked && !in.config.Answers.Beside() {
		return nil
	}
	last, err := in.config.Answers.LastID(ctx)
	if err == nil {
		in.last, in.asked = max(in.last, last), true
	}
	return err
}

// dropRejected takes out the rejects that were delivered.
func (c *Classified) dropRejected(found, inFlight map[string]struct{}) {
	kept := c.Rejected[:0]
	for _, r := range c.Rejected {
		_, delivered := found[r.MessageID]
		_, flying := inFlight[r.MessageID]
		if r.MessageID == "" || !delivered && !flying {
			kept = append(kept, r)
			continue
		}
		c.Asked = c.Asked || delivered
		c.Already++
		if _, rejected := c.known[r.InteractionID]; rejected && delivered {
			c.delivered = append(c.delivered, r.InteractionID)
		}
	}
	c.Rejected = kept
}

// dropEvents takes out the events that were delivered. Unless ids are unique in the export, one may
// stand twice in the page.
func (c *Classified) dropEvents(found, inFlight map[string]struct{}, unique bool) {
	if !unique && inFlight == nil {
		inFlight = map[string]struct{}{}
	}
	if len(found) == 0 && inFlight == nil {
		return
	}
	c.keep(func(e *event.Event) bool {
		if _, delivered := found[e.MessageID]; delivered {
			c.Asked = true
			if _, rejected := c.known[e.Row.ID]; rejected {
				c.delivered = append(c.delivered, e.Row.ID)
			}
			return false
		}
		_, flying := inFlight[e.MessageID]
		if !unique {
			inFlight[e.MessageID] = struct{}{}
		}
		return !flying
	})
}

// delivered asks the mirror for those of a page's events that may be in it.
func (in *Intake) delivered(ctx context.Context, number int64, page *span) (map[string]struct{}, error) {
	if in.config.Answers == nil || page.first > in.last {
		return nil, nil
	}
	ask := make([]string, 0, len(page.ids))
	for _, id := range page.ids {
		if id <= in.last {
			ask = append(ask, id)
		}
	}
	return in.config.Answers.Delivered(ctx, number, ask)
}

// keep takes out the events that are not wanted: they are dealt with already.
func (c *Classified) keep(wanted func(*event.Event) bool) {
	kept := c.Events[:0]
	for i := range c.Events {
		if wanted(&c.Events[i]) {
			kept = append(kept, c.Events[i])
		}
	}
	c.Already += len(c.Events) - len(kept)
	c.Events = kept
}

// truncate cuts the page after the limit-th row that is new, and reports whether it did, or the
// limit is just reached.
func (c *Classified) truncate(limit int) bool {
	if c.fresh() < limit {
		return false
	}
	events, rejected, cut := 0, 0, 0
	for ; cut < len(c.Page.Rows) && events+rejected < limit; cut++ {
		row := &c.Page.Rows[cut]
		switch {
		case events < len(c.Events) && c.Events[events].Row == row:
			events++
		case rejected < len(c.Rejected) && c.Rejected[rejected].InteractionID == row.ID:
			rejected++
		}
	}
	c.Events, c.Rejected = c.Events[:events], c.Rejected[:rejected]
	c.before = slices.DeleteFunc(c.before, func(place int) bool { return place >= cut })
	c.Already = cut - events - rejected - len(c.before)
	c.Page.Truncate(cut)
	return true
}

// refused makes a reject of an event that Segment did not accept.
func (c *Classified) refused(e *event.Event, detail string) (ledger.Rejected, error) {
	object, err := c.Page.ObjectOf(e.Row)
	if err != nil {
		return ledger.Rejected{}, err
	}
	return ledger.Rejected{
		InteractionID: e.Row.ID, MessageID: e.MessageID, Reason: event.RefusedBySegment, Detail: detail, Interaction: object,
		Attempts: c.known[e.Row.ID].Attempts + 1,
	}, nil
}
