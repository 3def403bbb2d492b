package scheduler

import (
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/ledger"
)

// SetRetry makes the first wait after a run that failed short.
func (s *Scheduler) SetRetry(wait time.Duration) { s.retry = wait }

// Migrate makes the schema of the first source.
func (s *Scheduler) Migrate(ctx context.Context) (ledger.Migration, error) {
	return s.loader.Migrate(ctx, s.sources[0])
}
