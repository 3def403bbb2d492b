package serve

import (
	"context"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/alert"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/scheduler"
	"github.com/candu-loader/candu-loader/loader/statuspage"
)

// Once runs what is due, tells of changes and pings the dead man's switch as Run
// does, and returns a result for each source that has a schedule.
func Once(ctx context.Context, l *loader.Loader) ([]scheduler.Result, error) {
	cfg := l.Config()
	if err := Check(cfg); err != nil {
		return nil, err
	}
	sender, err := alert.NewSender(cfg.Alerts, l.Log())
	if err != nil {
		return nil, err
	}
	counts := newMetrics()
	memory := newMemory(counts, func(*config.Source) {})
	results := scheduler.New(l, memory).Once(ctx)
	if ctx.Err() != nil {
		return results, nil
	}
	collector := newCollector(l, memory, func() []statuspage.Trouble { return nil })
	alerts := newAlerts(l, collector, sender, counts)
	if sender.Services() > 0 {
		alerts.lookAtAll(ctx)
	}
	succeeded := false
	for _, r := range results {
		succeeded = succeeded || (r.Summary != nil && r.Err == nil)
	}
	if succeeded {
		alerts.ping(ctx)
	}
	return results, nil
}
