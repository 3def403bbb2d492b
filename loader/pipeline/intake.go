package pipeline

import (
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/failpoint"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/source"
)

// Pages gives the pages of a run, one after the other.
type Pages interface {
	// Next returns the next page, nil after the last one.
	Next(ctx context.Context) (*source.Page, error)
	// Settle is called once for each page, before the next one is asked for, when it is known
	// how much of it is taken. It returns where the watermark may move once the page, and all
	// before it, are recorded, nil if it stays; and rejects that stay although the page lacks
	// their rows.
	Settle(page *source.Page) (*ledger.Watermark, []ledger.Rejected)
}

// IntakeConfig says what is taken in, and how.
type IntakeConfig struct {
	Pages Pages
	Rules *event.Rules
	// Ledger is asked what was delivered and rejected before; nil = there is no mirror yet.
	Ledger *ledger.Ledger
	// HasRejects is false if no row was ever rejected: then nobody need ask.
	HasRejects bool
	// Unique is true if the export has an index that keeps ids unique: then no id stands twice
	// in a page.
	Unique bool
	// Retrying sends what was rejected before, instead of leaving it alone.
	Retrying bool
	// Resend sends what is in the mirror too.
	Resend bool
	// Limit ends the intake after that many rows that were new; 0 = no limit.
	Limit int
	// Again is told of a question to the warehouse that is asked again; nil = nobody.
	Again func(err error, wait time.Duration)
	// Timed is told how long each step of a page took; nil = nobody.
	Timed func(step Step, took time.Duration)
}

// Intake is the first stage: pages are read, and their rows classified. It sends and writes
// nothing, and is not safe for concurrent use, but for Done.
type Intake struct {
	config IntakeConfig
	// last is the greatest messageId that the mirror held when the run began or that this run
	// has taken in: ids begin with the time, so a greater one is new.
	last     string
	asked    bool
	inFlight inFlight
	fresh    int
	limited  bool
}

// NewIntake returns an intake.
func NewIntake(config IntakeConfig) *Intake { return &Intake{config: config} }

// Next returns the next page, classified; nil after the last one, or where the limit was
// reached. Its events are in flight until Done.
func (in *Intake) Next(ctx context.Context) (*Classified, error) {
	if in.limited {
		return nil, nil
	}
	failpoint.At("between_pages")
	told := timed(in.config.Timed, StepRead)
	page, err := in.config.Pages.Next(ctx)
	told()
	if err != nil || page == nil {
		return nil, err
	}
	var out *Classified
	err = postgres.Retry(ctx, askTimeout, in.config.Again, func(ctx context.Context) (err error) {
		out, err = in.classify(ctx, page)
		return err
	})
	if err != nil {
		return nil, err
	}
	if in.config.Limit > 0 {
		in.limited = out.truncate(in.config.Limit - in.fresh)
		in.fresh += out.fresh()
	}
	var stay []ledger.Rejected
	out.watermark, stay = in.config.Pages.Settle(page)
	out.Rejected = append(out.Rejected, stay...)
	return out, nil
}

// Limited reports whether the limit ended the intake.
func (in *Intake) Limited() bool { return in.limited }

// Done says that the page will not be recorded: the mirror alone knows its events.
func (in *Intake) Done(c *Classified) { in.inFlight.remove(c.span) }

// done says of pages that they are recorded, or will not be.
func (in *Intake) done(spans []*span) { in.inFlight.remove(spans...) }
