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
	var repair bool
	cmd := &cobra.Command{
		Use:   "verify [NICKNAME...]",
		Short: "Prove that export = mirror + rejects, or list the difference",
		Long: `Compares the export with the mirror and the rejects, day by day, by counts and
fingerprints that each database computes for itself, and names the rows by which they
differ. Rows that the watermark has not reached are not missing: they wait for the next
run. Rows that are gone from the export (retention) are named and allowed.

Ends with 0 if it is proved, with 4 if there is a difference.`,
		Example: `  candu-loader verify
  candu-loader verify Candu_Prod --from 2026-01-01 --to 2026-02-01
  candu-loader verify Candu_Prod --repair`,
		RunE: a.with(func(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
			var errs []error
			var reports []verifyResult
			for _, src := range sources {
				report, err := a.verify(ctx, l, src, from, to, repair)
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
	flags.BoolVar(&repair, "repair", false, "send what is missing, and verify again")
	return cmd
}

// verifyResult is a source's part of verify --json.
type verifyResult struct {
	proof.Report
	Error *jsonError `json:"error"`
}

func (a *app) verify(ctx context.Context, l *loader.Loader, src *config.Source, from, to string, repair bool) (proof.Report, error) {
	start, end, err := a.parseRange(from, to, src.Location)
	if err != nil {
		return proof.Report{Source: src.Nickname}, err
	}
	report, err := a.verifyOrRepair(ctx, l, src, loader.VerifyOptions{From: start, To: end}, repair)
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
	case r.Doubled.Rows > 0:
		return fmt.Sprintf("A row of the export belongs in one place. candu-loader explain %s ID   tells more.", source)
	case r.Different.Rows > 0:
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
	named := func(what string, d proof.Difference) {
		if d.Rows == 0 {
			return
		}
		var ids []string
		for _, id := range d.IDs[:min(namedIDs, len(d.IDs))] {
			ids = append(ids, event.Shown(id))
		}
		fmt.Fprintf(&b, "%s: %s", what, strings.Join(ids, ", "))
		if more := d.Rows - int64(len(ids)); more > 0 {
			fmt.Fprintf(&b, " and %d more", more)
		}
		b.WriteByte('\n')
	}
	named("missing", r.Missing)
	named("different kind or time, or not in tutorial_interaction", r.Different)
	named("in the mirror twice, or rejected too", r.Doubled)
	named("more than once in the export", proof.Difference{Rows: int64(len(r.Twice)), IDs: r.Twice})
	named("delivered or rejected, gone from the export", r.Unexpected)
	if r.ReadAs != "" {
		fmt.Fprintf(&b, "the export is in %s, so its rows were read and compared here, which is slower\n", r.ReadAs)
	}
	fmt.Fprintf(&b, "%s: %s (%.1f s)\n", r.Source, verdict(r), r.Seconds)
	return b.String()
}

func verdict(r proof.Report) string {
	text := "proved"
	switch {
	case r.Proved && r.Rows == 0:
		// Whatever the mirror holds: nothing was compared.
		text = "nothing to prove"
	case !r.Proved:
		text = fmt.Sprintf("NOT proved: %d missing, %d different, %d without exported_at", r.Missing.Rows, r.Different.Rows, r.Unreadable)
		if len(r.Twice) > 0 {
			text += fmt.Sprintf(", %d ids more than once in the export", len(r.Twice))
		}
		if r.Doubled.Rows > 0 {
			text += fmt.Sprintf(", %d doubled", r.Doubled.Rows)
		}
	}
	text += fmt.Sprintf(": %d rows of the export, %d mirrored, %d rejected", r.Rows, r.Mirrored, r.Rejected)
	if r.Unexpected.Rows > 0 {
		text += fmt.Sprintf(", %d gone from the export", r.Unexpected.Rows)
	}
	var beyond strings.Builder
	for _, left := range []struct {
		rows int64
		why  string
	}{
		{r.BeforeStart, "were exported before start_at"}, {r.BeforeNamespace, "were exported before this copy got its namespace"},
		{r.Beyond - r.BeforeStart - r.BeforeNamespace, "lie beyond the watermark, which stays 10 s behind the export's clock, and behind open transactions"},
	} {
		if left.rows > 0 {
			fmt.Fprintf(&beyond, ", %d of those mirrored %s", left.rows, left.why)
		}
	}
	text += beyond.String()
	if r.Inherited > 0 {
		text += fmt.Sprintf(", %d exported until %s left out: another schema sent them, of which this one is a copy", r.Inherited, human.Exact(*r.InheritedUpTo))
	}
	if r.Pending > 0 {
		text += fmt.Sprintf(", %d waiting for the next run", r.Pending)
	}
	return text
}
