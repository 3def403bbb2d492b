package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/trace"
)

func (a *app) buildExplainCmd() *cobra.Command {
	var id string
	explain := a.with(func(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
		x, err := l.Explain(ctx, sources[0], id)
		switch {
		case err != nil:
			return err
		case a.json:
			return a.printJSON(x)
		}
		a.printf("%s", explanationText(x))
		return nil
	})
	return &cobra.Command{
		Use:   "explain NICKNAME ID",
		Short: "Show the life of one row or event",
		Long: `Shows the life of one row by its id, or by the messageId of its event: the row in
the export, the event that it makes, whether the next run reads it and why, the mirror's
row or the reject, and the run that made it. The last line answers: where is my event?`,
		Example: `  candu-loader explain Candu_Prod 12345
  candu-loader explain Candu_Prod 019b7ca9-8f2e-8833-8506-7dfc5e7c9046
  candu-loader explain Candu_Prod 12345 --json`,
		Args: needs("NICKNAME", "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id = args[1]
			return explain(cmd, args[:1])
		},
	}
}

// explanationText is an explanation on a few lines, with the labels in one column and the
// answer at the end.
func explanationText(x trace.Explanation) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "  %-12s %s\n", label, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "%s (schema %s): row %s\n", x.Source, x.Schema, event.Shown(x.InteractionID))
	switch {
	case x.ExportError != "":
		line("source row", "unknown: %s", x.ExportError)
	case x.Row == nil:
		line("source row", "not in the export")
	default:
		line("source row", "%s", x.Row)
	}
	if x.Event != nil {
		line("event today", "%s, %d bytes", x.Event.Name, x.Event.Bytes)
		line("", "%s", x.Event.JSON)
	}
	if x.WouldReject != nil {
		line("event today", "none: %s (%s)", x.WouldReject.Reason, x.WouldReject.Detail)
	}
	if s := x.Selection; s != nil {
		reads := "does not read it"
		if s.NextRunReadsIt {
			reads = "reads it"
		}
		line("next run", "%s: %s", reads, s.Why)
	}
	for _, m := range x.Mirror {
		line("mirror", "%s.%s, id %s", x.Schema, m.Table, m.MessageID)
		line("", "sent %s, accepted %s, mirrored %s", clock(m.SentAt), clock(m.ReceivedAt), clock(m.MirroredAt))
	}
	if r := x.Reject; r != nil {
		line("reject", "%s (%s), tried %s, first %s, last %s", r.Reason, r.Detail, human.Times(int64(r.Attempts)), clock(&r.FirstSeenAt), clock(&r.LastSeenAt))
	}
	for _, run := range x.Runs {
		line("run", "%s", runLine(run, x.At))
	}
	for _, run := range x.Running {
		line("running now", "%s", runLine(run, x.At))
	}
	fmt.Fprintf(&b, "%s\n", x.Answer)
	return b.String()
}

func clock(t *time.Time) string {
	if t == nil {
		return "unknown"
	}
	return human.Exact(*t)
}
