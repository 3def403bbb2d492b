package loader

import (
	"context"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/pages"
	"github.com/candu-loader/candu-loader/loader/pipeline"
)

// Rejects calls each for every reject of a source in the order of the rows' ids;
// reason "" means any.
func (l *Loader) Rejects(ctx context.Context, src *config.Source, reason string, each func(ledger.Reject) error) error {
	book, _, err := l.migrated(ctx, src)
	if err != nil {
		return err
	}
	for page, err := range book.AllRejects(ctx, reason) {
		if err != nil {
			return err
		}
		for _, reject := range page {
			if err := each(reject); err != nil {
				return err
			}
		}
	}
	return nil
}

// RetryRejects reads the rows of the rejects again and sends those that can be
// sent now. The others stay, with one attempt more.
func (l *Loader) RetryRejects(ctx context.Context, src *config.Source, reason string) (Summary, error) {
	return l.inSessionAfter(ctx, src, ledger.RunOptions{Kind: ledger.Retry}, l.turns.patience, func(s *session) error {
		rejected := &pages.Rejects{Ledger: s.run.Ledger(), Export: s.export, Reason: reason}
		_, err := s.flow(rejected, src.Integrations, func(in *pipeline.IntakeConfig, c *pipeline.Config) {
			in.HasRejects, in.Retrying = true, true
			c.Careful = true // Among them may be rows that can't be recorded.
		})
		if gone := rejected.Gone(); gone > 0 {
			s.log.Warn("rejects whose rows are gone from the export stay", "rejects", gone)
		}
		return err
	})
}
