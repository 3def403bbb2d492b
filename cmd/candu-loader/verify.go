package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/proof"
)

func (a *app) buildVerifyCmd() *cobra.Command {
	var from, to string
	var repair, quick bool
	cmd := &cobra.Command{
		Use:   "verify [NICKNAME...]",
		Short: "Prove that export = mirror + rejects, or list the difference",
		Long: `Compares the export with the mirror and the rejects, day by day, by counts and
fingerprints that each database computes for itself, of every value that came from the
row. A day that differs is read on both sides, and each row compared with the event that
it makes. Rows that the watermark has not reached are not missing: they wait for the next
run. Rows that are gone from the export (retention) are named and allowed.

Ends with 0 if it is proved, with 4 if there is a difference.`,
		Example: `  candu-loader verify
  candu-loader verify Candu_Prod --from 2026-01-01 --to 2026-02-01
  candu-loader verify Candu_Prod --repair`,
		RunE: a.with(func(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
			var errs []error
			var reports []verifyResult
			for _, src := range sources {
				report, err := a.verify(ctx, l, src, from, to, loader.VerifyOptions{Quick: quick}, repair)
				reports = append(reports, verifyResult{report, asJSON(err)})
				if !fault.Is(err, fault.Difference) {
					err = named(src.Nickname, sources, err)
				}
				errs = append(errs, err)
			}
			return a.conclude(reports, errs)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&from, "from", "", "start of the range of occurred_at, inclusive; default the beginning")
	flags.StringVar(&to, "to", "", "end of the range, exclusive; default the watermark")
	flags.BoolVar(&quick, "quick", false, "compare ids, kinds and times alone")
	flags.BoolVar(&repair, "repair", false, "send what is missing, and verify again")
	return cmd
}

// verifyResult is a source's part of verify --json.
type verifyResult struct {
	proof.Report
	Error *jsonError `json:"error"`
}

func (a *app) verify(ctx context.Context, l *loader.Loader, src *config.Source, from, to string, opts loader.VerifyOptions, repair bool) (proof.Report, error) {
	start, end, err := a.parseRange(from, to, src.Location)
	if err != nil {
		return proof.Report{Source: src.Nickname}, err
	}
	opts.From, opts.To = start, end
	report, err := a.verifyOrRepair(ctx, l, src, opts, repair)
	if err != nil {
		return report, err
	}
	if !a.json {
		a.printf("%s", verifyText(report))
	}
	if !report.Proved {
		return report, fault.New(fault.Difference, "source %q: export and mirror differ", src.Nickname).WithHint("%s", verifyHint(report))
	}
	return report, nil
}

func (a *app) verifyOrRepair(ctx context.Context, l *loader.Loader, src *config.Source, opts loader.VerifyOptions, repair bool) (proof.Report, error) {
	if !repair {
		return l.Verify(ctx, src, opts)
	}
	return l.Repair(ctx, src, opts, func(day string, run loader.Summary) {
		if !a.json {
			a.printf("repair of %s: %s\n", day, summaryLine(run))
		}
	})
}

func verifyHint(r proof.Report) string {
	source := human.Quote(r.Source)
	switch {
	case r.Missing.Rows > 0:
		return fmt.Sprintf("candu-loader verify %s --repair   sends what is missing.", source)
	case r.Doubled.Rows+r.SentAgain.Rows > 0:
		return fmt.Sprintf("A row of the export belongs in one place. candu-loader explain %s ID   tells more.", source)
	case r.Changed.Rows > 0:
		return fmt.Sprintf("These rows changed in the export after they were sent, or in the mirror. candu-loader explain %s ID   tells more.", source)
	}
	if len(r.Twice) > 0 {
		return "Ids must be unique in the export: candu-loader check " + source + "   tells what keeps them so."
	}
	return "Rows without exported_at or id are never read: set them in the export."
}

// namedIDs is how many ids verify prints of each difference; --json has more.
const namedIDs = 20

// verifyText is a report for people: the days that differ, and a plain last line.
func verifyText(r proof.Report) string {
	var b strings.Builder
	if len(r.Days) > 0 {
		fmt.Fprintf(&b, "%-12s %-12s %10s %10s %10s\n", "day", "kind", "export", "mirror", "rejects")
		for _, d := range r.Days {
			fmt.Fprintf(&b, "%-12s %-12s %10d %10d %10d\n", cmp.Or(d.Day, "-"), cmp.Or(d.Kind, "-"), d.Rows, d.Mirrored, d.Rejected)
		}
	}
	for _, class := range []struct {
		what string
		proof.Difference
	}{
		{"missing", r.Missing}, {"changed", r.Changed}, {"doubled: in the mirror more than once, or rejected too", r.Doubled},
		{"sent again, for occurred_at changed", r.SentAgain},
		{"more than once in the export", proof.Difference{Rows: int64(len(r.Twice)), IDs: r.Twice}}, {"gone from the export, delivered or rejected", r.Gone},
	} {
		if class.Rows > 0 {
			b.WriteString(class.what + ": " + differenceText(class.Difference) + "\n")
		}
	}
	if r.ReadAs != "" {
		fmt.Fprintf(&b, "the export is in %s, so its rows were read and compared here, which is slower\n", r.ReadAs)
	}
	fmt.Fprintf(&b, "%s: %s (%.1f s)\n", r.Source, verdict(r), r.Seconds)
	return b.String()
}

// differenceText names the first rows of a class, each with the columns that differ.
func differenceText(d proof.Difference) string {
	ids := d.IDs[:min(namedIDs, len(d.IDs))]
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = event.Shown(id)
		if columns := d.Columns[id]; len(columns) > 0 {
			texts[i] += " (" + strings.Join(columns, ", ") + ")"
		}
	}
	text := strings.Join(texts, ", ")
	if more := d.Rows - int64(len(ids)); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func verdict(r proof.Report) string {
	text := r.Verdict
	if r.Proved && r.Pending > 0 {
		if r.Verdict == proof.ProvedAll {
			text += " up to " + human.Exact(*r.UpTo)
		}
		text += ", " + waiting(r)
	}
	if r.Quick {
		text += " (ids, kinds and times alone)"
	}
	if !r.Proved {
		text += ": " + differences(r)
	}
	text += fmt.Sprintf(": %d rows of the export, %d mirrored, %d rejected", r.Rows, r.Mirrored, r.Rejected)
	if r.Forgotten > 0 {
		text += fmt.Sprintf(", %d without the identity of somebody who was forgotten", r.Forgotten)
	}
	if r.Gone.Rows > 0 {
		text += fmt.Sprintf(", %d gone from the export", r.Gone.Rows)
	}
	if r.BeforeStart > 0 {
		text += fmt.Sprintf(", %d of those mirrored were exported before start_at", r.BeforeStart)
	}
	if r.BeforeNamespace > 0 {
		text += fmt.Sprintf(", %d of those mirrored were exported before this copy got its namespace", r.BeforeNamespace)
	}
	if r.Inherited > 0 {
		text += fmt.Sprintf(", %d exported until %s left out: another schema sent them, of which this one is a copy", r.Inherited, human.Exact(*r.InheritedUpTo))
	}
	if r.Pending > 0 && !r.Proved {
		text += ", " + waiting(r)
	}
	return text
}

// differences counts the rows of the classes for which it is not proved.
func differences(r proof.Report) string {
	texts := []string{fmt.Sprintf("%d missing, %d changed", r.Missing.Rows, r.Changed.Rows)}
	for _, class := range []struct {
		rows int64
		what string
	}{
		{r.Doubled.Rows, "doubled"}, {r.SentAgain.Rows, "sent again"}, {r.Unreadable, "without exported_at or id"},
		{int64(len(r.Twice)), "ids more than once in the export"},
	} {
		if class.rows > 0 {
			texts = append(texts, fmt.Sprintf("%d %s", class.rows, class.what))
		}
	}
	return strings.Join(texts, ", ")
}

// waiting counts the rows beyond the watermark, and those of them that were sent already.
func waiting(r proof.Report) string {
	text := human.Count(r.Pending, "row") + " waiting"
	if sent := r.Unsettled(); sent > 0 {
		text += fmt.Sprintf(" (%d of them sent and mirrored, and not settled yet: the watermark stays 10 s behind the export's clock, and behind open transactions)", sent)
	}
	return text
}
