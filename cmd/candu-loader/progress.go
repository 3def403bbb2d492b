package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/human"
)

const (
	// quiet is how long a run may take before it shows how far it is.
	quiet = 2 * time.Second
	// logEvery is how often a run that nobody watches says how far it is.
	logEvery = 5 * time.Second
)

// bars shows how far runs are: as bars on a terminal, else as log lines.
type bars struct {
	progress *mpb.Progress // nil = not on a terminal
	log      *slog.Logger
	mu       sync.Mutex
	closed   bool
}

// logWriter writes logs above the bars, if there are any.
type logWriter struct{ app *app }

func (w logWriter) Write(b []byte) (int, error) {
	if bars := w.app.bars; bars != nil && bars.progress != nil {
		bars.mu.Lock()
		defer bars.mu.Unlock()
		if !bars.closed {
			return bars.progress.Write(b)
		}
	}
	return w.app.err.Write(b)
}

func (a *app) openProgress(ctx context.Context, _ *loader.Loader) {
	log, err := a.logger()
	if err != nil {
		log = slog.New(slog.DiscardHandler)
	}
	a.bars = &bars{log: log}
	if file, ok := a.err.(*os.File); ok && term.IsTerminal(int(file.Fd())) && !a.json {
		a.bars.progress = mpb.NewWithContext(context.WithoutCancel(ctx), mpb.WithOutput(io.Writer(file)), mpb.WithWidth(40))
	}
}

// closeProgress ends the bars; what is logged afterwards goes to stderr.
func (a *app) closeProgress() {
	if a.bars == nil || a.bars.progress == nil {
		return
	}
	a.bars.mu.Lock()
	closed := a.bars.closed
	a.bars.closed = true
	a.bars.mu.Unlock()
	if !closed {
		a.bars.progress.Shutdown()
	}
}

// show is one source's progress.
type show struct {
	bars    *bars
	name    string
	started time.Time
	last    atomic.Pointer[loader.Progress]
	logged  atomic.Int64
	mu      sync.Mutex
	bar     *mpb.Bar
}

func (a *app) show(name string) *show {
	s := &show{bars: a.bars, name: name, started: time.Now()}
	s.logged.Store(time.Now().UnixNano())
	return s
}

// update is told how far the run is, after each batch.
func (s *show) update(p loader.Progress) {
	s.last.Store(&p)
	if time.Since(s.started) < quiet {
		return
	}
	if s.bars.progress == nil {
		s.logLine(p)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	done := p.Sent + p.AlreadyDelivered + p.Rejected
	if s.bar == nil {
		s.bar = s.bars.progress.AddBar(max(p.Expected, done), mpb.PrependDecorators(
			decor.Name(s.name+"  "),
			decor.CountersNoUnit("%d / %d rows  "),
		), mpb.AppendDecorators(
			decor.AverageSpeed(0, "%.0f rows/s  ", decor.WCSyncSpace),
			decor.OnComplete(decor.AverageETA(decor.ET_STYLE_GO), "done"),
		), mpb.BarRemoveOnComplete())
		_ = s.bar.DecoratorAverageAdjust(s.started)
	}
	s.bar.SetTotal(max(p.Expected, done)+1, false)
	s.bar.SetCurrent(done)
}

func (s *show) logLine(p loader.Progress) {
	last, now := s.logged.Load(), time.Now().UnixNano()
	if now-last < int64(logEvery) || !s.logged.CompareAndSwap(last, now) {
		return
	}
	seconds := time.Since(s.started).Seconds()
	done := p.Sent + p.AlreadyDelivered + p.Rejected
	attrs := []any{"source", s.name, "sent", p.Sent, "already_delivered", p.AlreadyDelivered, "rejected", p.Rejected,
		"retries", p.Retries, "events_per_second", int64(float64(p.Sent) / seconds)}
	if p.Expected > done && done > 0 {
		left := seconds / float64(done) * float64(p.Expected-done)
		attrs = append(attrs, "expected", p.Expected, "left", human.Seconds(left))
	}
	s.bars.log.Info("run goes on", attrs...)
}

// end takes the bar away.
func (s *show) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar != nil {
		s.bar.Abort(true)
		s.bar.Wait()
	}
}
