package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
)

func (a *app) buildStatusCmd() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status [NICKNAME...]",
		Short: "Show watermark, lag, last runs, rejects and the next slot",
		Example: `  candu-loader status
  candu-loader status Candu_Prod --json`,
		RunE: a.with(func(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
			if watch {
				return a.watchStatus(ctx, l, sources)
			}
			return a.status(ctx, l, sources)
		}),
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again every 2 s, until interrupted")
	return cmd
}

// watchEvery is how often status --watch looks.
const watchEvery = 2 * time.Second

func (a *app) watchStatus(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if !a.json {
			a.printf("\x1b[H\x1b[2J") // Home, and clear the screen.
		}
		// What is wrong stands on the screen, and may pass.
		if err := a.status(ctx, l, sources); err != nil && ctx.Err() == nil {
			a.report(done{err})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// statusResult is a source's part of status --json.
type statusResult struct {
	loader.Status
	Error *jsonError `json:"error"`
}

func (a *app) status(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
	var results []statusResult
	var errs []error
	for _, src := range sources {
		status, err := l.Status(ctx, src)
		results = append(results, statusResult{status, asJSON(err)})
		if err != nil {
			errs = append(errs, fmt.Errorf("source %q: %w", src.Nickname, err))
		}
	}
	if a.json {
		errs = append(errs, a.printJSON(map[string]any{"sources": results}))
		return errors.Join(errs...)
	}
	for i, r := range results {
		if i > 0 {
			a.printf("\n")
		}
		if r.Error != nil {
			a.printf("%s: %s\n", r.Source, r.Error.Text)
			continue
		}
		a.printf("%s", statusText(r.Status, time.Now()))
	}
	return errors.Join(errs...)
}

// statusText is a source on a few lines, with the labels in one column.
func statusText(s loader.Status, now time.Time) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "  %-14s %s\n", label, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "%s (schema %s)\n", s.Source, s.Schema)
	if !s.Migrated {
		line("state", "no schema yet, or one of an older version; `candu-loader run %s` makes it", s.Source)
	} else {
		watermark := "none yet"
		if s.WatermarkAt != nil {
			watermark = human.Exact(*s.WatermarkAt)
			if s.WatermarkID != nil {
				watermark += ", id " + *s.WatermarkID
			}
			watermark += ", " + human.Ago(*s.WatermarkAt, now)
		}
		line("watermark", "%s", watermark)
		if s.CompleteUntil != nil {
			line("complete until", "%s, %s", human.Time(*s.CompleteUntil), human.Ago(*s.CompleteUntil, now))
		}
		switch {
		case s.PendingRows != nil:
			line("behind it", "about %d rows", *s.PendingRows)
		case s.PendingError != "":
			line("behind it", "unknown: %s", s.PendingError)
		}
		for _, r := range s.Running {
			line("running", "%s", runLine(r, now))
		}
		for i, r := range s.LastRuns {
			label := ""
			if i == 0 {
				label = "last runs"
			}
			line(label, "%s", runLine(r, now))
		}
		if s.LastSuccess != nil {
			line("last success", "%s", human.Ago(s.LastSuccess.StartedAt, now))
		} else {
			line("last success", "none yet")
		}
		rejects := make([]string, len(s.Rejects))
		for i, r := range s.Rejects {
			rejects[i] = fmt.Sprintf("%d %s", r.Rejects, r.Reason)
		}
		if len(rejects) == 0 {
			rejects = []string{"none"}
		}
		line("rejects", "%s", strings.Join(rejects, ", "))
		line("namespace", "%s", s.MessageNamespace)
	}
	if s.NextSlot != nil {
		line("schedule", "%s (%s), next %s", s.Schedule, s.Timezone, s.NextSlot.Format("2006-01-02 15:04 MST"))
	} else {
		line("schedule", "none")
	}
	return b.String()
}

func runLine(r ledger.RunRecord, now time.Time) string {
	text := fmt.Sprintf("#%d %s %s, %s", r.ID, r.Kind, paint(string(r.Status)), human.Ago(r.StartedAt, now))
	if r.FinishedAt != nil {
		text += ", took " + human.Duration(r.FinishedAt.Sub(r.StartedAt))
	}
	text += fmt.Sprintf(", %d sent", r.Sent)
	if r.Rejected > 0 {
		text += fmt.Sprintf(", %d rejected", r.Rejected)
	}
	if r.Error != "" {
		first, _, _ := strings.Cut(r.Error, "\n")
		text += ": " + first
	}
	return text
}

// paint colours a run's status on a terminal, unless $NO_COLOR is set.
func paint(status string) string {
	switch status {
	case "succeeded":
		return color.GreenString(status)
	case "failed":
		return color.RedString(status)
	case "interrupted":
		return color.YellowString(status)
	}
	return status
}
