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
	"github.com/candu-loader/candu-loader/loader/segment"
	"github.com/candu-loader/candu-loader/loader/source"
)

const (
	sampleEvents   = 3
	rejectExamples = 3
)

// Preview says what a run or a backfill would do. Nothing was sent or written.
type Preview struct {
	Source string `json:"source"`
	Schema string `json:"schema"`
	// Migrated is false if the schema is not there yet; the run would make it.
	Migrated         bool            `json:"migrated"`
	RowsRead         int64           `json:"rows_read"`
	ToSend           int64           `json:"to_send"`
	AlreadyDelivered int64           `json:"already_delivered"`
	Days             []PreviewDay    `json:"days"`
	Rejects          []PreviewReject `json:"rejects"`
	Requests         int64           `json:"requests"`
	Bytes            int64           `json:"bytes"`
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

// PreviewReject counts what would be rejected for one reason.
type PreviewReject struct {
	Reason   string   `json:"reason"`
	Rows     int64    `json:"rows"`
	Examples []string `json:"examples"`
}

// previewer counts pages instead of sending them.
type previewer struct {
	loader  *Loader
	sorter  *sorter
	sender  *segment.Sender
	encoder *segment.Encoder
	limit   int
	fresh   int
	preview Preview
	days    map[PreviewDay]int64
	rejects map[event.Reason]*PreviewReject
}

// PreviewRun reads and decides as Run does, and sends and writes nothing.
func (l *Loader) PreviewRun(ctx context.Context, src *config.Source, opts RunOptions) (Preview, error) {
	return l.previewOf(ctx, src, opts.Limit, func(export *source.Source, state ledger.State, _ *previewer) (reader, error) {
		job := &runJob{loader: l, src: src, export: export, log: l.log.With("source", src.Nickname), mark: newWatermark(state.WatermarkAt, state.WatermarkID)}
		if _, err := job.decideStart(ctx, &state); err != nil {
			return nil, err
		}
		return job, job.look(ctx)
	})
}

// PreviewBackfill reads and decides as Backfill does, and sends and writes nothing.
func (l *Loader) PreviewBackfill(ctx context.Context, src *config.Source, opts BackfillOptions) (Preview, error) {
	return l.previewOf(ctx, src, 0, func(export *source.Source, state ledger.State, p *previewer) (reader, error) {
		job := &backfillJob{src: src, opts: opts}
		r := job.rangeUpTo(state)
		var err error
		if p.preview.Pending, err = export.Beyond(ctx, r); err != nil {
			return nil, err
		}
		p.sorter.resend = opts.Resend
		if r.UpTo.IsZero() {
			return emptyReader{}, nil
		}
		pages, _, err := export.Range(ctx, r)
		return &rangePages{pages}, err
	})
}

// emptyReader has no page.
type emptyReader struct{}

func (emptyReader) next(context.Context) (*source.Page, error) { return nil, nil }
func (emptyReader) place(*source.Page) *ledger.Watermark       { return nil }

func (l *Loader) previewOf(ctx context.Context, src *config.Source, limit int, open func(*source.Source, ledger.State, *previewer) (reader, error)) (Preview, error) {
	p := &previewer{loader: l, limit: limit, days: map[PreviewDay]int64{}, rejects: map[event.Reason]*PreviewReject{}}
	p.preview = Preview{Source: src.Nickname, Schema: src.Schema, Migrated: true, Days: []PreviewDay{}, Rejects: []PreviewReject{}, Samples: []json.RawMessage{}}
	export, err := l.Source(ctx, src)
	if err != nil {
		return p.preview, err
	}
	defer export.Close()
	book, err := l.Ledger(ctx, src)
	if err != nil {
		return p.preview, err
	}
	state, err := book.State(ctx)
	if errors.Is(err, ledger.ErrNotMigrated) {
		// A schema that is not there yet has delivered nothing.
		p.preview.Migrated, err = false, nil
		state.MessageNamespace = src.MessageNamespace
		if state.MessageNamespace == uuid.Nil {
			state.MessageNamespace = uuid.New()
		}
	}
	if err != nil {
		return p.preview, err
	}
	p.encoder = segment.NewEncoder(src.Integrations)
	p.sender = l.gateway.Sender(src.WriteKey, p.encoder)
	p.sorter = &sorter{ledger: book, rules: rules(src, export.Table(), state, p.encoder), hasRejects: p.preview.Migrated, empty: !p.preview.Migrated, unique: export.Table().UniqueID}
	pages, err := open(export, state, p)
	if err != nil {
		return p.preview, err
	}
	if err := p.flow(ctx, pages); err != nil {
		return p.preview, err
	}
	p.close()
	return p.preview, nil
}

func (p *previewer) flow(ctx context.Context, pages reader) error {
	for limited := false; !limited; {
		page, err := pages.next(ctx)
		if err != nil {
			return err
		}
		if page == nil {
			return nil
		}
		sorted, err := p.sorter.sort(ctx, page)
		if err != nil {
			return err
		}
		if p.limit > 0 {
			limited = sorted.truncate(page, p.limit-p.fresh)
			p.fresh += len(sorted.events) + len(sorted.rejected)
		}
		pages.place(page)
		p.count(page, &sorted)
		p.sorter.land(sorted.flight)
	}
	return nil
}

func (p *previewer) count(page *source.Page, s *sorted) {
	p.preview.RowsRead += int64(page.Read())
	p.preview.AlreadyDelivered += int64(s.already)
	p.preview.ToSend += int64(len(s.events))
	for i := range s.events {
		e := &s.events[i]
		p.days[PreviewDay{Day: e.At.Format(time.DateOnly), Event: e.Kind.Name()}]++
		text, err := p.encoder.JSON(e)
		p.preview.Bytes += int64(len(text))
		if err == nil && len(p.preview.Samples) < sampleEvents {
			p.preview.Samples = append(p.preview.Samples, text)
		}
	}
	for rest := s.events; len(rest) > 0; p.preview.Requests++ {
		rest = rest[p.sender.Cut(rest):]
	}
	for _, r := range s.rejected {
		reject := p.rejects[r.Reason]
		if reject == nil {
			reject = &PreviewReject{Reason: string(r.Reason)}
			p.rejects[r.Reason] = reject
		}
		reject.Rows++
		if len(reject.Examples) < rejectExamples {
			reject.Examples = append(reject.Examples, "id "+r.InteractionID+": "+r.Detail)
		}
	}
}

func (p *previewer) close() {
	for day, n := range p.days {
		day.ToSend = n
		p.preview.Days = append(p.preview.Days, day)
	}
	slices.SortFunc(p.preview.Days, func(a, b PreviewDay) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Event, b.Event))
	})
	for _, reject := range p.rejects {
		p.preview.Rejects = append(p.preview.Rejects, *reject)
	}
	slices.SortFunc(p.preview.Rejects, func(a, b PreviewReject) int { return cmp.Compare(a.Reason, b.Reason) })
	if limit := p.loader.config.Segment.MaxEventsPerSecond; limit > 0 {
		p.preview.SecondsAtLimit = float64(p.preview.ToSend) / float64(limit)
	}
}
