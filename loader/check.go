package loader

import (
	"context"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/lineage"
	"github.com/candu-loader/candu-loader/loader/pages"
	"github.com/candu-loader/candu-loader/loader/preflight"
	"github.com/candu-loader/candu-loader/loader/segment"
	"github.com/candu-loader/candu-loader/loader/source"
)

// Check looks at everything that a run of the source needs, and changes nothing.
// It finds what it can and does not stop at the first trouble. offline leaves
// Segment out.
func (l *Loader) Check(ctx context.Context, src *config.Source, offline bool) []preflight.Finding {
	return preflight.Check(ctx, preflight.Target{
		Config: l.config, Source: src, Offline: offline,
		Export: func(ctx context.Context) (*source.Source, error) { return l.source(ctx, src) },
		Ledger: func(ctx context.Context) (*ledger.Ledger, error) { return l.patient(ctx, src) },
		Plan: func(ctx context.Context) (ledger.Migration, error) {
			plan, _, err := l.MigrationPlan(ctx, src)
			return plan, err
		},
		SameExport: func(ctx context.Context) (string, string, error) { return l.checkExport(ctx, src) },
		Rules: func(table *source.Table, state ledger.State) *event.Rules {
			return rules(src, table, state, segment.NewEncoder(src.Integrations))
		},
		ReadsFrom: func(table *source.Table, state ledger.State) source.Cursor {
			return pages.Start(state, lineage.Lookback(src, table, state.WatermarkAt))
		},
	})
}
