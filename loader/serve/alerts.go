package serve

import (
	"context"
	"encoding/json"
	"log/slog"
	"reflect"
	"time"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/alert"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/status"
)

var (
	// alertEvery is how often the sources are looked at for alerts.
	alertEvery = 15 * time.Second
	// awayFor is how long a warehouse may be away before that is told: a restart
	// should wake nobody.
	awayFor = 2 * time.Minute
)

// alerts tells people of changes, and the dead man's switch of successes.
type alerts struct {
	loader    *loader.Loader
	collector *collector
	sender    *alert.Sender
	metrics   *metrics
	log       *slog.Logger
	successes chan struct{}
	// away are the states of sources whose warehouse can't be asked.
	away map[string]alert.State
}

// succeeded is told of each run that succeeded. Several at once are one ping.
func (a *alerts) succeeded() {
	select {
	case a.successes <- struct{}{}:
	default:
	}
}

// run works until ctx is done.
func (a *alerts) run(ctx context.Context) {
	var tick <-chan time.Time
	if a.sender.Services() > 0 {
		tick = time.Tick(alertEvery)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.successes:
			a.ping(ctx)
		case <-tick:
			a.lookAtAll(ctx)
		}
	}
}

// once looks at the sources once, and tells of the successes until now.
func (a *alerts) once(ctx context.Context) {
	if a.sender.Services() > 0 {
		a.lookAtAll(ctx)
	}
	select {
	case <-a.successes:
		a.ping(ctx)
	default:
	}
}

// ping tells the dead man's switch, if there is one, of a success.
func (a *alerts) ping(ctx context.Context) {
	if err := a.sender.Ping(ctx); err != nil && ctx.Err() == nil {
		a.log.Warn("pinging the dead man's switch", "error", err)
	}
}

func (a *alerts) lookAtAll(ctx context.Context) {
	view := a.collector.View(ctx)
	for i, src := range a.collector.config.Sources {
		if (src.Schedule != nil || src.Verify.Schedule != nil) && ctx.Err() == nil {
			a.look(ctx, src, &view.Sources[i].Source)
		}
	}
}

// look tells what has changed with a source. What was announced is kept in the warehouse, so
// that of several replicas one tells it; while that is away, each tells it once.
func (a *alerts) look(ctx context.Context, src *config.Source, s *status.Source) {
	o := observation(s, s.At)
	switch {
	case s.Err != nil:
		if s.At.Sub(s.Failure.Since) >= awayFor {
			a.away[src.Nickname] = a.tell(ctx, a.away[src.Nickname], o)
		}
		return
	case !s.Migrated:
		return
	}
	before := s.Announced
	var known alert.State
	if err := json.Unmarshal(before, &known); err != nil {
		a.log.Warn("reading what was announced; starting afresh", "source", src.Nickname, "error", err)
		known = alert.State{}
	}
	if told, ok := a.away[src.Nickname]; ok && known.FailingSince == nil {
		known.FailingSince = told.FailingSince
		if since := known.FailingSince; since != nil {
			// That was by this machine's clock.
			known.FailingSince = new(s.At.Add(time.Until(*since)))
		}
	}
	after, _ := alert.Next(known, o, a.collector.config.Alerts.LagOver)
	if reflect.DeepEqual(known, after) {
		return
	}
	// First the state, then the notices: whoever changes it tells.
	claimed, mine := a.swap(ctx, src, before, after)
	if !mine {
		return
	}
	delete(a.away, src.Nickname)
	if told := a.tell(ctx, known, o); !reflect.DeepEqual(told, after) {
		// What reached nobody is told again at the next look.
		a.swap(context.WithoutCancel(ctx), src, claimed, told)
	}
}

// swap stores what was announced if nobody did meanwhile, and returns it as it is stored.
func (a *alerts) swap(ctx context.Context, src *config.Source, before []byte, after alert.State) (text []byte, mine bool) {
	text, err := json.Marshal(after)
	if err == nil {
		mine, err = a.loader.Announce(ctx, src, before, text)
	}
	if err != nil && ctx.Err() == nil {
		a.log.Warn("retrying: what was announced could not be recorded", "error", err)
	}
	return text, mine && err == nil
}

// tell tells what has changed, and returns the state with what reached somebody.
func (a *alerts) tell(ctx context.Context, known alert.State, o alert.Observation) alert.State {
	told, results := a.sender.Observe(ctx, known, o, a.collector.config.Alerts.LagOver)
	for _, r := range results {
		if r.Err != nil {
			a.metrics.alerts.WithLabelValues("failed").Inc()
			a.log.Warn("sending a notice", "source", o.Source, "service", r.Service, "error", r.Err)
			continue
		}
		a.metrics.alerts.WithLabelValues("sent").Inc()
		a.log.Info("sent a notice", "source", o.Source, "service", r.Service)
	}
	return told
}

// observation is where a source stands, in the terms of alerts.
func observation(s *status.Source, now time.Time) alert.Observation {
	o := alert.Observation{Source: s.Nickname, At: now, Failure: s.Failure, Proof: s.Proof}
	if s.LagSeconds != nil {
		o.Lag = new(time.Duration(*s.LagSeconds * float64(time.Second)))
	}
	if len(s.LastRuns) > 0 {
		o.Rejects = map[string]int64{}
	}
	for _, r := range s.Rejects { // There are none without a run.
		if r.Mendable() {
			o.Rejects[r.Reason] = r.Count
		}
	}
	for _, slot := range s.Slots {
		if slot.Status == ledger.SlotMissed {
			o.Missed = append(o.Missed, alert.Missed{Slot: slot.At, Why: slot.Note})
		}
	}
	return o
}
