package main

import (
	"cmp"
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
	"github.com/candu-loader/candu-loader/loader/status"
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
			a.report(err)
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
	status.Source
	Error *jsonError `json:"error"`
}

func (a *app) status(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
	var results []statusResult
	var errs []error
	for _, src := range sources {
		source := l.Status(ctx, src, status.Memory{})
		results = append(results, statusResult{source, asJSON(source.Err)})
		if source.Err != nil {
			errs = append(errs, fmt.Errorf("source %q: %w", src.Nickname, source.Err))
		}
	}
	if a.json {
		return a.conclude(results, errs)
	}
	for i, r := range results {
		if i > 0 {
			a.printf("\n")
		}
		if r.Error != nil {
			a.printf("%s: state unknown, see the error\n", r.Nickname) // Which says why, and what to do, once.
			continue
		}
		a.printf("%s", statusText(&r.Source, r.At))
	}
	return errors.Join(errs...)
}

// shownRuns is how many runs status prints; --json has more.
const shownRuns = 5

// statusText is a source on a few lines, with the labels in one column.
func statusText(s *status.Source, now time.Time) string {
	var b strings.Builder
	line := func(label, text string) { fmt.Fprintf(&b, "  %-14s %s\n", label, text) }
	fmt.Fprintf(&b, "%s (schema %s)\n", s.Nickname, s.Schema)
	if s.Migrated {
		standing(s, now, line)
		if s.ConfigAlternates != "" {
			line("configuration", s.ConfigAlternates)
		}
		for _, r := range s.Running {
			line("running", runLine(r.RunRecord, now))
		}
		label := "last runs"
		for _, r := range s.LastRuns[:min(len(s.LastRuns), shownRuns)] {
			line(label, runLine(r.RunRecord, now))
			label = ""
		}
		success := "none yet"
		if at := s.SucceededAt(); at != nil {
			success = human.Ago(*at, now)
		}
		line("last success", success)
		rejects := make([]string, len(s.Rejects))
		for i, r := range s.Rejects {
			rejects[i] = fmt.Sprintf("%d %s", r.Count, r.Reason)
		}
		line("rejects", cmp.Or(strings.Join(rejects, ", "), "none"))
		line("proof", s.Proof.Sentence)
		line("namespace", s.MessageNamespace)
	} else {
		line("state", fmt.Sprintf("the schema is of an older version; `%s` upgrades it", s.RunCommand()))
	}
	if s.NextSlot != nil {
		line("schedule", fmt.Sprintf("%s (%s), next %s", s.Schedule, s.Timezone, s.NextSlot.Format("2006-01-02 15:04 MST")))
	} else {
		line("schedule", "none")
	}
	return b.String()
}

// standing says how far the source is.
func standing(s *status.Source, now time.Time, line func(label, text string)) {
	state := string(s.State)
	if s.Failure != nil {
		state += " since " + human.Time(s.Failure.Since) + ", " + human.Ago(s.Failure.Since, now)
	}
	waiting := "rows waiting unknown: " + human.Line(s.WaitingError)
	switch {
	case s.WaitingRows == nil:
	case *s.WaitingRows == 0:
		waiting = "no rows waiting"
	default:
		waiting = "about " + human.Count(*s.WaitingRows, "row") + " waiting"
	}
	line("state", state+", "+lagText(s.LagSeconds)+", "+waiting)
	if s.Failure != nil {
		line("error", human.Line(s.Failure.Error))
	}
	watermark := "none yet"
	if s.WatermarkAt != nil {
		watermark = human.Exact(*s.WatermarkAt)
		if s.WatermarkID != nil {
			watermark += ", id " + *s.WatermarkID
		}
		if s.WatermarkAheadSeconds == nil {
			watermark += ", " + human.Ago(*s.WatermarkAt, now)
		} else {
			watermark += ", in the future: the export's clock was put back, and the next run puts the watermark back"
		}
	}
	line("watermark", watermark)
	if s.CompleteUntil != nil {
		line("complete until", human.Join(": ", human.Time(*s.CompleteUntil)+", "+human.Ago(*s.CompleteUntil, now), s.HeldBackBy))
	}
}

func runLine(r ledger.RunRecord, now time.Time) string {
	text := fmt.Sprintf("#%d %s %s, %s", r.ID, r.Kind, paint(r.Status), human.Ago(r.StartedAt, now))
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
func paint(end ledger.RunStatus) string {
	text := string(end)
	switch end {
	case ledger.RunSucceeded:
		return color.GreenString(text)
	case ledger.RunFailed:
		return color.RedString(text)
	case ledger.RunInterrupted:
		return color.YellowString(text)
	case ledger.RunRunning:
	}
	return text
}
