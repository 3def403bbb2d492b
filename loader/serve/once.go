package serve

import (
	"context"
	"log/slog"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/scheduler"
)

// Once runs what is due, tells of changes and pings the dead man's switch as Run
// does, and returns a result for each source that has a schedule.
func Once(ctx context.Context, cfg *config.Config, log *slog.Logger) ([]scheduler.Result, error) {
	s := &server{log: log, metrics: newMetrics()}
	g, err := s.generation(cfg)
	if err != nil {
		return nil, err
	}
	defer g.close(ctx)
	results := g.scheduler.Once(ctx)
	if ctx.Err() == nil {
		g.alerts.once(ctx)
	}
	return results, nil
}
