package loader

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/lineage"
	"github.com/candu-loader/candu-loader/loader/pages"
	"github.com/candu-loader/candu-loader/loader/pipeline"
	"github.com/candu-loader/candu-loader/loader/segment"
	"github.com/candu-loader/candu-loader/loader/source"
)

const sampleEvents = 3

// Preview says what a run or a backfill would do. Nothing was sent or written.
type Preview struct {
	Source string `json:"source"`
	Schema string `json:"schema"`
	// Migrated is false if the schema is not there yet.
	Migrated         bool         `json:"migrated"`
	RowsRead         int64        `json:"rows_read"`
	ToSend           int64        `json:"to_send"`
	AlreadyDelivered int64        `json:"already_delivered"`
	Days             []PreviewDay `json:"days"`
	// RejectedBefore counts rows that were rejected before and are as they were.
	RejectedBefore int64         `json:"rejected_before"`
	Rejects        []event.Count `json:"rejects"`
	// Stops says that it would stop on the way, for too many rows would be rejected.
	Stops    string `json:"stops,omitempty"`
	Requests int64  `json:"requests"`
	Bytes    int64  `json:"bytes"`
	// SecondsAtLimit is how long sending takes at the rate limit, 0 without one.
	SecondsAtLimit float64 `json:"seconds_at_rate_limit"`
	// Pending is how many rows of a backfill's range wait for the next run.
	Pending int64             `json:"pending"`
	Samples []json.RawMessage `json:"samples"`
}

// PreviewDay counts what would be sent of one day (UTC) and kind.
type PreviewDay struct {
	Day    string `json:"day"`
	Event  string `json:"event"`
	ToSend int64  `json:"to_send"`
}

// PreviewRun reads and decides as Run does, and sends and writes nothing.
func (l *Loader) PreviewRun(ctx context.Context, src *config.Source, opts RunOptions) (Preview, error) {
	return l.preview(ctx, src, func(p *previewer) error {
		begin, err := beginning(src, p.export)
		if err != nil {
			return err
		}
		if err := checkStarted(p.export, p.state); err != nil {
			return err
		}
		if at := begin.StartAt; at != nil && p.state.StartAt == nil && p.state.WatermarkAt == nil {
			p.state.StartAt, p.state.WatermarkAt = at, at
		}
		c := pages.Config{
			Export: p.export, Answers: p.answers, State: p.state, Lookback: lineage.Lookback(src, p.export.Table(), p.state.WatermarkAt),
			Log: l.log.With("source", src.Nickname),
		}
		if p.preview.Migrated {
			if _, err := (lineage.Lineage{Source: src, Ledger: p.book, State: p.state, Export: p.export}).ConfirmPassedOver(ctx); err != nil {
				return err
			}
		}
		from, err := pages.NewIncremental(ctx, c)
		p.intake.Pages, p.intake.Limit, p.intake.Brake = from, opts.Limit, p.wouldStop(brake(src, opts.MaxRejected, ""))
		return err
	})
}

// PreviewBackfill reads and decides as Backfill does, and sends and writes nothing.
func (l *Loader) PreviewBackfill(ctx context.Context, src *config.Source, opts BackfillOptions) (Preview, error) {
	return l.preview(ctx, src, func(p *previewer) error {
		if opts.To == nil {
			now, _ := p.export.Clock()
			opts.To = &now
		}
		r := settledRange(opts.From, opts.To, opts.ByExported, p.state)
		var err error
		if p.preview.Pending, err = p.export.Beyond(ctx, r); err != nil {
			return err
		}
		from := pages.Ranges{}
		if !r.UpTo.IsZero() {
			from.RangeReader, _, err = p.export.Range(ctx, r)
		}
		p.intake.Pages, p.intake.Resend, p.intake.Brake = from, opts.Resend, p.wouldStop(brake(src, opts.MaxRejected, ""))
		return err
	})
}

// previewer counts pages instead of sending them.
type previewer struct {
	export  *source.Source
	book    *ledger.Ledger  // As answers.
	answers *ledger.Answers // nil = there is no schema yet.
	state   ledger.State
	encoder *segment.Encoder
	sender  *segment.Sender
	intake  pipeline.IntakeConfig

	preview Preview
	days    map[PreviewDay]int64
	rejects event.Tally
}

// preview counts what would be sent of the pages that open gives.
func (l *Loader) preview(ctx context.Context, src *config.Source, open func(*previewer) error) (Preview, error) {
	p := &previewer{days: map[PreviewDay]int64{}}
	p.preview = Preview{Source: src.Nickname, Schema: src.Schema, Days: []PreviewDay{}, Rejects: []event.Count{}, Samples: []json.RawMessage{}}
	var err error
	if p.export, err = l.source(ctx, src); err != nil {
		return p.preview, err
	}
	defer p.export.Close()
	book, state, err := l.migrated(ctx, src)
	p.book, p.state = book, state
	switch {
	case errors.Is(err, ledger.ErrAbsent):
		// A schema that is not there yet has delivered nothing.
		p.state.MessageNamespace = src.MessageNamespace
	case err != nil:
		return p.preview, err
	default:
		if err := book.Confirm(ctx); err != nil {
			return p.preview, err
		}
		if _, err := (lineage.Lineage{Source: src, Ledger: book, State: state, Export: p.export}).Confirm(ctx); err != nil {
			return p.preview, err
		}
		p.answers, p.preview.Migrated = book.Answers(), true
	}
	p.encoder = segment.NewEncoder(src.Integrations)
	p.sender = l.gateway.Sender(src.WriteKey, p.encoder)
	p.intake = pipeline.IntakeConfig{
		Rules: rules(src, p.export.Table(), p.state, p.encoder), Answers: p.answers, Originals: p.state.Originals, HasRejects: p.preview.Migrated, Unique: p.export.Table().UniqueID,
	}
	if err := open(p); err != nil {
		return p.preview, err
	}
	intake := pipeline.NewIntake(p.intake)
	for {
		page, err := intake.Next(ctx)
		if err != nil {
			return p.preview, err
		}
		if page == nil {
			break
		}
		p.count(page)
		intake.Done(page)
	}
	p.close(l.config.Segment.MaxEventsPerSecond)
	return p.preview, nil
}

// wouldStop notes where the brake would stop first, and does not stop.
func (p *previewer) wouldStop(brake func(*event.Tally, int64) error) func(*event.Tally, int64) error {
	return func(rejects *event.Tally, fresh int64) error {
		if err := brake(rejects, fresh); err != nil && p.preview.Stops == "" {
			p.preview.Stops = err.Error()
		}
		return nil
	}
}

func (p *previewer) count(page *pipeline.Classified) {
	p.preview.RowsRead += int64(page.Page.Read())
	p.preview.AlreadyDelivered += int64(page.Already)
	p.preview.RejectedBefore += int64(page.RejectedBefore())
	p.preview.ToSend += int64(len(page.Events))
	for i := range page.Events {
		e := &page.Events[i]
		p.days[PreviewDay{Day: e.At.Format(time.DateOnly), Event: e.Kind.Name()}]++
		text, err := p.encoder.JSON(e)
		p.preview.Bytes += int64(len(text))
		if err == nil && len(p.preview.Samples) < sampleEvents {
			if p.state.MessageNamespace == uuid.Nil {
				e.MessageID = "" // The first migration draws the namespace; until then nobody knows the id.
				text, _ = p.encoder.JSON(e)
			}
			p.preview.Samples = append(p.preview.Samples, text)
		}
	}
	for rest := page.Events; len(rest) > 0; p.preview.Requests++ {
		rest = rest[p.sender.Cut(rest):]
	}
	for _, r := range page.Rejected {
		p.rejects.Add(r.Reason, r.InteractionID, r.Detail)
	}
}

func (p *previewer) close(limit int) {
	for day, n := range p.days {
		day.ToSend = n
		p.preview.Days = append(p.preview.Days, day)
	}
	slices.SortFunc(p.preview.Days, func(a, b PreviewDay) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Event, b.Event))
	})
	p.preview.Rejects = p.rejects.Counts()
	if limit > 0 {
		p.preview.SecondsAtLimit = float64(p.preview.ToSend) / float64(limit)
	}
}
