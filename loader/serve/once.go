package serve

import (
	"context"
	"log/slog"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/alert"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/scheduler"
	"github.com/candu-loader/candu-loader/loader/status"
)

// Once runs what is due, tells of changes and pings the dead man's switch as Run
// does, and returns a result for each source that has a schedule.
func Once(ctx context.Context, cfg *config.Config, log *slog.Logger) ([]scheduler.Result, error) {
	if err := Check(cfg); err != nil {
		return nil, err
	}
	sender, err := alert.NewSender(cfg.Alerts, log)
	if err != nil {
		return nil, err
	}
	l := loader.New(cfg, log)
	defer l.Close()
	counts := newMetrics()
	memory := newMemory(counts, func() {})
	results := scheduler.New(l, cfg.Sources, log, memory).Once(ctx)
	if ctx.Err() != nil {
		return results, nil
	}
	collector := newCollector(l, cfg, memory, func() []status.Failure { return nil })
	defer collector.close()
	alerts := newAlerts(l, collector, sender, counts, log)
	if sender.Services() > 0 {
		alerts.lookAtAll(ctx)
	}
	for _, r := range results {
		if r.Summary != nil && r.Err == nil {
			alerts.ping(ctx)
			break
		}
	}
	return results, nil
}
