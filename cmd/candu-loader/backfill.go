package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
)

func (a *app) buildBackfillCmd() *cobra.Command {
	var (
		opts         loader.BackfillOptions
		from, to, by string
		integrations string
		maxRejected  string
		dryRun       bool
	)
	cmd := &cobra.Command{
		Use:   "backfill NICKNAME --from D [--to D]",
		Short: "Send the rows of a date range that are not in the mirror",
		Long: `Sends the rows whose occurred_at is in [from, to) and that are not in the mirror. A
date without a time is midnight in the source's time zone; RFC 3339 works too; without
--to the range ends now.

It never moves the watermark, and leaves rows that the watermark has not reached to
the next run. It may run beside the scheduled run. If it ended early, call it again:
what is mirrored is passed over at reading speed.`,
		Example: `  candu-loader backfill Candu_Prod --from 2026-01-01 --to 2026-02-01
  candu-loader backfill Candu_Prod --from 2025-01-01 --dry-run
  candu-loader backfill Candu_Prod --from 2025-01-01 --integrations '{"All":false}'`,
		Args: needs("NICKNAME"),
		RunE: a.with(func(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
			src := sources[0]
			var err error
			if opts.From, opts.To, err = a.parseRange(from, to, src.Location); err != nil {
				return err
			}
			switch by {
			case "occurred_at":
			case "exported_at":
				opts.ByExported = true
			default:
				return a.usage("--by %q: expected occurred_at or exported_at", by)
			}
			if opts.Integrations, err = a.parseIntegrations(integrations); err != nil {
				return err
			}
			if opts.MaxRejected, err = a.parseMaxRejected(maxRejected); err != nil {
				return err
			}
			if dryRun {
				preview, err := l.PreviewBackfill(ctx, src, opts)
				return a.preview(preview, err)
			}
			return a.backfill(ctx, l, src, opts)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&from, "from", "", "start of the range, inclusive")
	flags.StringVar(&to, "to", "", "end of the range, exclusive; default now")
	flags.StringVar(&by, "by", "occurred_at", "column that the range is about: occurred_at or exported_at")
	flags.BoolVar(&opts.Resend, "resend", false, "send rows that are in the mirror too, with the same messageIds")
	flags.StringVar(&integrations, "integrations", "", "Segment's integrations object for this backfill alone, as JSON")
	flags.StringVar(&maxRejected, "max-rejected", "", maxRejectedUsage)
	flags.BoolVar(&dryRun, "dry-run", false, "show what would be sent, and send nothing")
	_ = cmd.MarkFlagRequired("from")
	return cmd
}

// parseIntegrations reads --integrations; "" leaves it out.
func (a *app) parseIntegrations(text string) (map[string]any, error) {
	if text == "" {
		return nil, nil
	}
	var object map[string]any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber() // What is passed on stays as it is.
	err := decoder.Decode(&object)
	if _, more := decoder.Token(); err != nil || object == nil || !errors.Is(more, io.EOF) {
		return nil, a.usage(`--integrations %q: expected JSON such as {"All":false}`, text)
	}
	if err := config.CheckIntegrations(object); err != nil {
		return nil, a.usage("--integrations: %s. %s", err, fault.HintOf(err))
	}
	return object, nil
}

// parseRange reads --from and --to; either may be left out, and is nil then.
func (a *app) parseRange(from, to string, location *time.Location) (start, end *time.Time, err error) {
	parse := func(flag, text string) (*time.Time, error) {
		if text == "" {
			return nil, nil
		}
		moment, err := config.ParseTime(text, location)
		if err != nil {
			return nil, a.usage("%s %s", flag, err)
		}
		return &moment, nil
	}
	if start, err = parse("--from", from); err != nil {
		return nil, nil, err
	}
	if end, err = parse("--to", to); err != nil {
		return nil, nil, err
	}
	// What now is, the export's clock says; this machine's may be off.
	last := time.Now().AddDate(0, 0, 1)
	if end != nil {
		last = *end
	}
	if start != nil && !start.Before(last) {
		return nil, nil, a.usage("the range is empty: --from %s is not before %s", from, cmp.Or(to, "now"))
	}
	return start, end, nil
}

// backfillResult is backfill --json.
type backfillResult struct {
	loader.BackfillSummary
	Error *jsonError `json:"error"`
}

func (a *app) backfill(ctx context.Context, l *loader.Loader, src *config.Source, opts loader.BackfillOptions) error {
	progress := a.openProgress()
	opts.Progress = func(now loader.Progress) { progress.update(src, now) }
	progress.update(src, loader.Progress{})
	summary, err := l.Backfill(ctx, src, opts)
	progress.end(src)
	progress.close()
	if a.json {
		return errors.Join(err, a.printJSON(backfillResult{summary, asJSON(err)}))
	}
	if summary.RunID == 0 {
		return err
	}
	a.printf("%s\n", summaryLine(summary.Summary))
	if summary.RowsRead == 0 && err == nil {
		a.printf("%s: the range has no rows up to the watermark\n", src.Nickname)
	}
	if summary.Pending > 0 {
		a.printf("%s: beyond the watermark, for the next run: %s of the range\n", src.Nickname, human.Count(summary.Pending, "row"))
	}
	if summary.MissingIndex != "" {
		a.printf("%s: no index serves the range, so the whole export was read. Next time, create it first: %s\n", src.Nickname, summary.MissingIndex)
	}
	return err
}

// preview prints what would be done.
func (a *app) preview(p loader.Preview, err error) error {
	if a.json {
		return errors.Join(err, a.printJSON(p))
	}
	if err != nil {
		return err
	}
	a.printf("%s: dry run, nothing was sent or written\n", p.Source)
	if !p.Migrated {
		a.printf("  schema %s is not there yet; `candu-loader migrate %s` makes it\n", p.Schema, human.Quote(p.Source))
	}
	line := func(label, format string, args ...any) { a.printf("  %-18s %s\n", label, fmt.Sprintf(format, args...)) }
	line("rows read", "%d", p.RowsRead)
	line("already delivered", "%d", p.AlreadyDelivered)
	if p.RejectedBefore > 0 {
		line("rejected before", "%d", p.RejectedBefore)
	}
	line("to send", "%d", p.ToSend)
	if p.Pending > 0 {
		line("waiting", "%d (beyond the watermark; the next run sends them)", p.Pending)
	}
	for _, r := range p.Rejects {
		line("would be rejected", "%d %s", r.Rows, r.Reason)
		for _, example := range r.Examples {
			line("", "  %s", example)
		}
	}
	if p.Stops != "" {
		line("would stop", "%s", p.Stops)
	}
	line("requests", "%d, %d bytes of events", p.Requests, p.Bytes)
	if p.SecondsAtLimit > 0 {
		line("takes about", "%s at the rate limit", human.Seconds(p.SecondsAtLimit))
	}
	if len(p.Days) > 0 {
		a.printf("\n  %-12s %-22s %10s\n", "day", "event", "to send")
		for _, d := range p.Days {
			a.printf("  %-12s %-22s %10d\n", d.Day, d.Event, d.ToSend)
		}
		a.printf("\n  the first events, as they would be sent:\n")
		for _, sample := range p.Samples {
			a.printf("  %s\n", sample)
		}
	}
	return nil
}
