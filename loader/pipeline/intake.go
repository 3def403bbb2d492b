package pipeline

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/failpoint"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/source"
)

// Pages gives the pages of a run, one after the other.
type Pages interface {
	// Next returns the next page, nil after the last one. number is how answers about it are noted.
	Next(ctx context.Context, number int64) (*source.Page, error)
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
	// Answers say what was delivered and rejected before; nil = there is no mirror yet.
	Answers *ledger.Answers
	// Originals are the namespaces of the schemas that this one is a copy of: what the mirror has
	// under their ids, they sent.
	Originals []uuid.UUID
	// HasRejects is false if no row was ever rejected: then nobody need ask.
	HasRejects bool
	// Unique is true if the export has an index that keeps ids unique: then no id stands twice
	// in a page.
	Unique bool
	// Retrying sends what was rejected before, instead of leaving it alone.
	Retrying bool
	// Resend sends what is in the mirror too.
	Resend bool
	// Brake is told, before each page, what the run rejects up to and with that page, and how
	// many of its rows were new; with an error it ends the intake before the page, while the
	// pages before it go on. Rows of a page that can't be recorded count before it is sent. nil = no
	// number of rejects stops it. What Segment refuses is not among them: by then the rest of
	// the page was sent, and must be recorded.
	Brake func(rejects *event.Tally, fresh int64) error
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
	read     int64
	rejects  event.Tally
	stopped  error
}

// NewIntake returns an intake.
func NewIntake(config IntakeConfig) *Intake { return &Intake{config: config} }

// Next returns the next page, classified; nil after the last one, or where the limit or the
// brake ended the intake. Its events are in flight until Done.
func (in *Intake) Next(ctx context.Context) (*Classified, error) {
	if in.limited || in.stopped != nil {
		return nil, nil
	}
	failpoint.At("between_pages")
	told := timed(in.config.Timed, StepRead)
	var number int64
	if in.config.Answers != nil {
		number = in.config.Answers.Page()
	}
	page, err := in.config.Pages.Next(ctx, number)
	told()
	if err != nil || page == nil {
		return nil, err
	}
	var out *Classified
	err = postgres.Retry(ctx, askTimeout, in.config.Again, func(ctx context.Context) (err error) {
		out, err = in.classify(ctx, number, page)
		return err
	})
	if err != nil {
		return nil, err
	}
	if in.config.Limit > 0 {
		in.limited = out.truncate(in.config.Limit - in.fresh)
	}
	in.fresh += out.fresh()
	in.read += int64(page.Read())
	if in.stopped = in.brake(out.Rejected); in.stopped != nil {
		return nil, nil
	}
	var stay []ledger.Rejected
	out.watermark, stay = in.config.Pages.Settle(page)
	out.Rejected = append(out.Rejected, stay...)
	return out, nil
}

// brake counts rejects of a page that is new, and returns an error if there are too many by now.
func (in *Intake) brake(rejected []ledger.Rejected) error {
	if in.config.Brake == nil || len(rejected) == 0 {
		return nil
	}
	for i := range rejected {
		r := &rejected[i]
		in.rejects.Add(r.Reason, r.InteractionID, r.Detail)
	}
	return in.config.Brake(&in.rejects, int64(in.fresh))
}

// Read is how many rows were read, those included that the brake ended the intake before.
func (in *Intake) Read() int64 { return in.read }

// Limited reports whether the limit ended the intake.
func (in *Intake) Limited() bool { return in.limited }

// Stopped returns what ended the intake before a page with too many rejects, nil if nothing did.
func (in *Intake) Stopped() error { return in.stopped }

// Done says that the page will not be recorded: the mirror alone knows its events.
func (in *Intake) Done(c *Classified) { in.inFlight.remove(c.span) }

// done says of pages that they are recorded, or will not be.
func (in *Intake) done(spans []*span) { in.inFlight.remove(spans...) }
