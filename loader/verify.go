package loader

import (
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/lineage"
	"github.com/candu-loader/candu-loader/loader/proof"
	"github.com/candu-loader/candu-loader/loader/segment"
	"github.com/candu-loader/candu-loader/loader/source"
)

// verifyTimeout is how long a server may compute fingerprints.
const verifyTimeout = 30 * time.Minute

// VerifyOptions bound what is verified, by occurred_at; nil = open.
type VerifyOptions struct {
	From, To *time.Time
	// Quick compares ids, kinds and times alone.
	Quick bool
	// Scheduled is true for what the source's verify.schedule asks for: From is what verify.last says, or where
	// a difference was found that still stands.
	Scheduled bool
}

// Verify compares export and mirror day by day, in both databases at once, and
// names the rows by which they differ. The verdict is kept with the source, see [ledger.Proof.Next].
func (l *Loader) Verify(ctx context.Context, src *config.Source, opts VerifyOptions) (proof.Report, error) {
	none := proof.Report{Source: src.Nickname, Schema: src.Schema}
	// The watermark first: whatever moves afterwards lies beyond it.
	book, state, err := l.migrated(ctx, src)
	if err != nil {
		return none, err
	}
	if opts.Scheduled {
		opts.From = scheduledFrom(src, state)
	}
	export, err := l.sourceFor(ctx, src, verifyTimeout)
	if err != nil {
		return none, err
	}
	defer export.Close()
	if _, err := (lineage.Lineage{Source: src, Ledger: book, State: state, Export: export}).Confirm(ctx); err != nil {
		return none, err
	}
	newest, err := export.Newest(ctx, 1)
	if err == nil {
		err = export.NewestSteady(ctx, newest)
	}
	if err != nil {
		return none, err
	}
	if table := export.Table(); !table.Prints() {
		l.log.Info("the export is not in UTF8: its rows are read and compared here, which is slower", "source", src.Nickname, "encoding", table.Encoding())
	}
	report, err := proof.Verify(ctx, proof.Config{
		Source: src.Nickname, Schema: src.Schema, Ledger: book, Export: export, State: state,
		Prints: source.Prints{View: src.Interactions.Kinds.View, Interaction: src.Interactions.Kinds.Interaction, Quick: opts.Quick},
		Rules:  rules(src, export.Table(), state, segment.NewEncoder(src.Integrations)),
		Range:  settledRange(opts.From, opts.To, false, state),
	})
	if err == nil {
		err = l.keepVerdict(ctx, src, book, state, opts, report)
	}
	return report, err
}
