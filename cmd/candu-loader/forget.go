package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/human"
)

func (a *app) buildForgetCmd() *cobra.Command {
	var opts loader.ForgetOptions
	cmd := &cobra.Command{
		Use:   "forget NICKNAME",
		Short: "Erase a person from mirror and rejects, for good",
		Long: `Takes the identity of a person out of mirror and rejects: user id and anonymous id of
every row that names them. The rows stay, or go with --delete. A salted hash of who it was
is kept, never the value, so that no run, backfill, repair or retry sends or keeps a row of
theirs again; such rows become rejects without identity, with the reason forgotten.

Waits until no run, backfill, repair or retry is under way. Prints a receipt, and what
others still have: the export, Segment, and what Segment loads.`,
		Example: `  candu-loader forget Candu_Prod --user-id user-17 --dry-run
  candu-loader forget Candu_Prod --user-id user-17 --with-anonymous-ids
  candu-loader forget Candu_Prod --anonymous-id 5f2a81c0`,
		Args: needs("NICKNAME"),
	}
	cmd.RunE = a.with(func(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
		byUser, byAnonymous := cmd.Flags().Changed("user-id"), cmd.Flags().Changed("anonymous-id")
		switch {
		case byUser == byAnonymous:
			return a.usage("forget needs --user-id or --anonymous-id, and one of them")
		case strings.TrimSpace(opts.UserID+opts.AnonymousID) == "":
			return a.usage("--user-id or --anonymous-id is blank")
		case byAnonymous && opts.WithAnonymousIDs:
			return a.usage("--with-anonymous-ids goes with --user-id")
		}
		opts.By = operator()
		receipt, err := l.Forget(ctx, sources[0], opts)
		if a.json {
			return errors.Join(err, a.printJSON(forgetResult{receipt, asJSON(err)}))
		}
		if err == nil {
			a.printf("%s", receiptText(receipt))
		}
		return err
	})
	flags := cmd.Flags()
	flags.StringVar(&opts.UserID, "user-id", "", "the person's user id, as Segment has it")
	flags.StringVar(&opts.AnonymousID, "anonymous-id", "", "an anonymous id of theirs")
	flags.BoolVar(&opts.WithAnonymousIDs, "with-anonymous-ids", false, "forget the anonymous ids too that the user's rows have")
	flags.BoolVar(&opts.Delete, "delete", false, "delete the rows; without it they stay, without identity")
	flags.BoolVar(&opts.DryRun, "dry-run", false, "count the rows, change nothing")
	return cmd
}

// forgetResult is what forget --json prints.
type forgetResult struct {
	loader.Receipt
	Error *jsonError `json:"error"`
}

// operator names who calls the command, and where.
func operator() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

// linkedNamed is how many identities a receipt names; --json has more.
const linkedNamed = 20

// receiptText is a receipt for people.
func receiptText(r loader.Receipt) string {
	var b strings.Builder
	did, source := "identity erased", human.Quote(r.Source)
	if r.Deleted {
		did = "deleted"
	}
	switch {
	case r.DryRun:
		fmt.Fprintf(&b, "dry run: nothing was changed. What would be done in schema %s:\n", r.Schema)
	default:
		fmt.Fprintf(&b, "receipt %s: forgotten in schema %s on %s by %s\n", r.Number, r.Schema, human.Exact(r.At), r.By)
	}
	if r.Before {
		b.WriteString("had been forgotten before\n")
	}
	if r.Unsure != "" {
		fmt.Fprintf(&b, "the export could not be asked how it spells the %s, which was taken as written: %s\n", r.Identity, human.Line(r.Unsure))
	}
	for _, table := range []struct {
		name, did string
		rows      int64
	}{
		{"screens", did, r.Rows.Screens}, {"tracks", did, r.Rows.Tracks}, {"tutorial_interaction", did, r.Rows.TutorialInteraction},
		{"loader_rejects", "identity erased", r.Rows.Rejects}, {"loader_runs", "name taken out of the error", r.Rows.Runs},
	} {
		fmt.Fprintf(&b, "  %-22s %10d  %s\n", table.name, table.rows, table.did)
	}
	if r.Rows.Sum() == 0 {
		fmt.Fprintf(&b, "nothing here named them")
		if !r.DryRun {
			b.WriteString("; they are remembered as forgotten all the same")
		}
		b.WriteByte('\n')
	}
	if r.Anonymous > 0 {
		fmt.Fprintf(&b, "%s of theirs forgotten too\n", human.Count(int64(r.Anonymous), "anonymous id"))
	}
	if r.OfOthers > 0 {
		fmt.Fprintf(&b, "%s of these named another user id too, which goes with it\n", human.Count(r.OfOthers, "row"))
	}
	linkedText(&b, r, source)
	if !r.DryRun {
		b.WriteString("a salted hash is kept, not the value: no run, backfill, repair or retry sends a row of theirs again\n")
	}
	b.WriteString("\nwhat remains with others (this part names the person):\n")
	for _, left := range r.Remains {
		fmt.Fprintf(&b, "- %s: %s\n", left.Where, left.What)
		for command := range strings.Lines(left.Command) {
			fmt.Fprintf(&b, "    %s\n", strings.TrimSpace(command))
		}
	}
	return b.String()
}

// linkedText names the identities of the other column that stood in the person's rows.
func linkedText(b *strings.Builder, r loader.Receipt, source string) {
	if r.LinkedCount == 0 {
		return
	}
	noun, flag := "anonymous id", "--anonymous-id"
	if r.Identity == event.AnonymousID {
		noun, flag = "user id", "--user-id"
	}
	fmt.Fprintf(b, "their rows had %s, which %s keep; to forget these as well:\n",
		human.Count(int64(r.LinkedCount), noun), human.Count(r.LinkedRows, "other row"))
	if r.DryRun && noun == "anonymous id" {
		fmt.Fprintf(b, "  the same command with --with-anonymous-ids\n")
		return
	}
	for i, id := range r.Linked {
		if i == linkedNamed {
			fmt.Fprintf(b, "  and %d more, which --json names\n", r.LinkedCount-i)
			break
		}
		fmt.Fprintf(b, "  candu-loader forget %s %s %s\n", source, flag, human.Quote(id))
	}
}
