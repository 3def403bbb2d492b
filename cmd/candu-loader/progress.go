package main

import (
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/human"
)

const (
	// quiet is how long a run may take before it shows how far it is.
	quiet = 2 * time.Second
	// logEvery is how often a run that nobody watches says how far it is.
	logEvery = 5 * time.Second
)

// progress shows how far runs are: as bars on a terminal, else as log lines.
type progress struct {
	bars *mpb.Progress // nil = not on a terminal
	log  *slog.Logger
	mu   sync.Mutex
	runs map[*config.Source]*shown
}

// shown is one run.
type shown struct {
	began, logged time.Time
	bar           *mpb.Bar
}

func (a *app) openProgress() *progress {
	p := &progress{log: a.log, runs: map[*config.Source]*shown{}}
	if file, ok := a.err.(*os.File); ok && term.IsTerminal(int(file.Fd())) && !a.json {
		p.bars = mpb.New(mpb.WithOutput(file), mpb.WithWidth(40))
	}
	a.progress = p
	return p
}

// logWriter writes logs above the bars while there are any.
type logWriter struct{ app *app }

func (w logWriter) Write(b []byte) (int, error) {
	if p := w.app.progress; p != nil && p.bars != nil {
		if n, err := p.bars.Write(b); err == nil {
			return n, nil
		}
	}
	return w.app.err.Write(b)
}

// update is told that a run begins, and how far it is.
func (p *progress) update(src *config.Source, now loader.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	run := p.runs[src]
	if run == nil {
		run = &shown{began: time.Now(), logged: time.Now()}
		p.runs[src] = run
	}
	switch {
	case time.Since(run.began) < quiet:
	case p.bars != nil:
		p.draw(src, run, now)
	case time.Since(run.logged) >= logEvery:
		run.logged = time.Now()
		p.tell(src, run, now)
	}
}

func (p *progress) draw(src *config.Source, run *shown, now loader.Progress) {
	if run.bar == nil {
		run.bar = p.bars.AddBar(0, mpb.PrependDecorators(
			decor.Name(src.Nickname+"  "),
			decor.CountersNoUnit("%d / %d rows  "),
		), mpb.AppendDecorators(
			decor.NewAverageSpeed(0, "%.0f rows/s  ", run.began, decor.WCSyncSpace),
			decor.NewAverageETA(decor.ET_STYLE_GO, run.began, nil),
		))
	}
	run.bar.SetTotal(max(now.Expected, rowsDone(now)), false)
	run.bar.SetCurrent(rowsDone(now))
}

func (p *progress) tell(src *config.Source, run *shown, now loader.Progress) {
	seconds := time.Since(run.began).Seconds()
	attrs := []any{"source", src.Nickname, "sent", now.Sent, "already_delivered", now.AlreadyDelivered, "rejected", now.Rejected, "rejected_before", now.RejectedBefore,
		"retries", now.Retries, "events_per_second", int64(float64(now.Sent) / seconds)}
	if rows := rowsDone(now); rows > 0 && now.Expected > rows {
		left := seconds / float64(rows) * float64(now.Expected-rows)
		attrs = append(attrs, "expected", now.Expected, "left", human.Seconds(left))
	}
	p.log.Info("still running", attrs...)
}

func rowsDone(p loader.Progress) int64 {
	return p.Sent + p.AlreadyDelivered + p.Rejected + p.RejectedBefore
}

// end takes the bar of a run away.
func (p *progress) end(src *config.Source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if run := p.runs[src]; run != nil && run.bar != nil {
		run.bar.Abort(true)
		run.bar.Wait()
	}
}

// close ends all bars; what is logged afterwards goes to stderr alone.
func (p *progress) close() {
	if p.bars != nil {
		p.bars.Shutdown()
	}
}
