package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
)

func (a *app) buildRejectsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rejects",
		Short: "Show rows that can't be sent, or try them again",
		Long: `Rows that can't be sent as they are stand in loader_rejects with a reason:
` + "\n  " + strings.Join(reasons(), "\n  "),
		Example: `  candu-loader rejects list Candu_Prod
  candu-loader rejects list Candu_Prod --reason missing_identity --json
  candu-loader rejects retry Candu_Prod`,
	}
	cmd.AddCommand(a.ofRejects(&cobra.Command{
		Use:     "list NICKNAME",
		Short:   "Show the rejects of a source",
		Example: `  candu-loader rejects list Candu_Prod --reason missing_identity`,
	}, a.listRejects), a.ofRejects(&cobra.Command{
		Use:   "retry NICKNAME",
		Short: "Read the rejects' rows again and send what can be sent now",
		Long: `Reads the rows of the rejects again from the export and sends those that were mended
there. The others stay, with one attempt more.`,
		Example: `  candu-loader rejects retry Candu_Prod --reason missing_identity`,
	}, a.retryRejects))
	return cmd
}

func reasons() []string {
	var texts []string
	for _, reason := range event.Reasons() {
		texts = append(texts, string(reason))
	}
	return texts
}

// ofRejects makes cmd one that is about the rejects of a source, or those of a reason.
func (a *app) ofRejects(cmd *cobra.Command, do func(ctx context.Context, l *loader.Loader, src *config.Source, reason string) error) *cobra.Command {
	var reason string
	cmd.Args = needs("NICKNAME")
	cmd.RunE = a.with(func(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
		if reason != "" && !slices.Contains(reasons(), reason) {
			return a.usage("--reason %q: expected one of %s", reason, strings.Join(reasons(), ", "))
		}
		return do(ctx, l, sources[0], reason)
	})
	cmd.Flags().StringVar(&reason, "reason", "", "only those of this reason")
	return cmd
}

func (a *app) listRejects(ctx context.Context, l *loader.Loader, src *config.Source, reason string) error {
	rejects := []ledger.Reject{}
	n := 0
	err := l.Rejects(ctx, src, reason, func(r ledger.Reject) error {
		n++
		if a.json {
			rejects = append(rejects, r)
			return nil
		}
		if n == 1 {
			a.printf("%-24s %-20s %8s  %-20s  %s\n", "ID", "REASON", "ATTEMPTS", "LAST TRIED", "DETAIL")
		}
		a.printf("%-24s %-20s %8d  %-20s  %s\n", event.Shown(r.InteractionID), r.Reason, r.Attempts, human.Time(r.LastSeenAt), r.Detail)
		return nil
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"source": src.Nickname, "rejects": rejects})
	}
	if n == 0 {
		a.printf("%s: no rejects\n", src.Nickname)
	}
	return nil
}

func (a *app) retryRejects(ctx context.Context, l *loader.Loader, src *config.Source, reason string) error {
	summary, err := l.RetryRejects(ctx, src, reason)
	if a.json {
		return errors.Join(err, a.printJSON(runResult{summary, asJSON(err)}))
	}
	a.printf("%s\n", summaryLine(summary))
	return err
}
