package loader

import (
	"context"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/proof"
)

// keepLimit bounds the tries to record a verdict, which may have taken hours.
const keepLimit = time.Minute

// Verifications returns whose turn it is to verify a source, for a holder, see [ledger.Holder].
func (l *Loader) Verifications(ctx context.Context, src *config.Source, holder string) (*ledger.Verifications, error) {
	book, err := l.ledger(ctx, src)
	if err != nil {
		return nil, err
	}
	return book.Verifications(holder), nil
}

// VerifyFailed records that a verification of the schedule came to no verdict.
func (l *Loader) VerifyFailed(ctx context.Context, src *config.Source, why error) error {
	book, state, err := l.migrated(ctx, src)
	if err != nil {
		return err
	}
	_, err = book.KeepProof(ctx, state, func(before ledger.Proof, clock time.Time) (ledger.Proof, bool) {
		return before.Failed(clock, why), true
	})
	return err
}

// scheduledFrom is where a verification of the schedule begins.
func scheduledFrom(src *config.Source, state ledger.State) *time.Time {
	from := state.Clock.Add(-src.Verify.Last)
	if p := state.Proof; p.Verdict == ledger.NotProved && (p.From == nil || p.From.Before(from)) {
		return p.From
	}
	return &from
}

// keepVerdict stores the verdict of a verification that began with a state. Who asked for it by hand has
// it in any case.
func (l *Loader) keepVerdict(ctx context.Context, src *config.Source, book *ledger.Ledger, state ledger.State, opts VerifyOptions, report proof.Report) error {
	v := ledger.Verified{
		At: state.Clock, From: opts.From, To: opts.To, UpTo: report.UpTo,
		Verdict: verdictOf(report), Differences: differences(report), Quick: opts.Quick,
	}
	err := postgres.Retry(ctx, keepLimit, l.again(), func(ctx context.Context) error {
		kept, err := book.KeepProof(ctx, state, func(before ledger.Proof, clock time.Time) (ledger.Proof, bool) {
			return before.Next(v, clock, src.Verify.Last)
		})
		if err == nil && !kept && opts.Scheduled {
			l.log.Info("the verdict was not recorded: another verification says more", "source", src.Nickname)
		}
		return err
	})
	if err == nil || opts.Scheduled || fault.Is(err, fault.Interrupted) {
		return err
	}
	l.log.Warn("recording the verdict: status and serve go on showing the one before", append([]any{"source", src.Nickname}, fault.Attrs(err)...)...)
	return nil
}

// verdictOf is what a report comes to.
func verdictOf(r proof.Report) ledger.Verdict {
	switch {
	case !r.Proved:
		return ledger.NotProved
	case r.Rows == 0:
		return ledger.NothingToProve
	}
	return ledger.Proved
}

// differences counts a report's rows by class.
func differences(r proof.Report) map[string]int64 {
	counts := map[string]int64{}
	for class, rows := range map[string]int64{
		"missing": r.Missing.Rows, "changed": r.Changed.Rows, "doubled": r.Doubled.Rows, "sent_again": r.SentAgain.Rows, ledger.Gone: r.Gone.Rows,
		"unreadable": r.Unreadable, "twice": int64(len(r.Twice)),
	} {
		if rows > 0 {
			counts[class] = rows
		}
	}
	return counts
}
