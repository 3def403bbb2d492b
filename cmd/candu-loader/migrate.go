package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/ledger"
)

func (a *app) buildMigrateCmd() *cobra.Command {
	var dryRun bool
	opts := ledger.MigrateOptions{Create: true}
	cmd := &cobra.Command{
		Use:   "migrate [NICKNAME...]",
		Short: "Create or upgrade the schema of each source",
		Long: `Creates or upgrades the schema of each source, and grants the readers of the config
what they may read. Safe to run from several places at once. A migration that
fails leaves the schema as it was.

Making a schema is a deliberate act, once for each source: no run makes one by itself,
for in place of a schema that vanished, a new one would have everything sent again,
under new ids.

--new-namespace, --key-rotated and --moved answer what a run refused: a schema whose write
key or place is another one than it was. --start-at makes a start_at count that was changed
after the first run: if it lies earlier now, the next run reads from there, and passes over
what the mirror has.`,
		Example: `  candu-loader migrate
  candu-loader migrate Candu_Prod --key-rotated
  candu-loader migrate Candu_Prod --start-at
  candu-loader migrate Candu_Prod --dry-run | less`,
		RunE: a.with(func(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
			return a.migrate(ctx, l, sources, opts, dryRun)
		}),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the SQL and change nothing")
	flags := cmd.Flags()
	flags.BoolVar(&opts.NewNamespace, "new-namespace", false, "the schema is a copy of another one: send what comes from now on under ids of its own")
	flags.BoolVar(&opts.KeyRotated, "key-rotated", false, "the write key in the config is a new one for the same source of Segment")
	flags.BoolVar(&opts.Moved, "moved", false, "the schema itself, and no copy of it, is on another server or in another database")
	flags.BoolVar(&opts.SetStart, "start-at", false, "begin at start_at of the config, as if the first run had begun there")
	return cmd
}

// migrateResult is a source's part of migrate --json.
type migrateResult struct {
	Source string `json:"source"`
	ledger.Migration
	SQL   string     `json:"sql,omitempty"`
	Error *jsonError `json:"error"`
}

func (a *app) migrate(ctx context.Context, l *loader.Loader, sources []*config.Source, opts ledger.MigrateOptions, dryRun bool) error {
	if err := a.checkAnswers(sources, opts, dryRun); err != nil {
		return err
	}
	var results []migrateResult
	var errs []error
	for _, src := range sources {
		result := migrateResult{Source: src.Nickname}
		var err error
		if dryRun {
			result.Migration, result.SQL, err = l.MigrationPlan(ctx, src)
		} else {
			result.Migration, err = l.Migrate(ctx, src, opts)
		}
		result.Error = asJSON(err)
		results = append(results, result)
		switch {
		case err != nil:
			errs = append(errs, named(src.Nickname, sources, err))
		case a.json:
		case dryRun:
			a.printf("-- %s: schema %s, version %d to %d\n%s\n", src.Nickname, result.Schema, result.From, result.To, result.SQL)
		case result.From == result.To && len(result.Answers) > 0:
		case result.From == result.To:
			a.printf("%s: schema %s is at version %d; readers' rights are as configured\n", src.Nickname, result.Schema, result.To)
		default:
			a.printf("%s: schema %s migrated from version %d to %d\n", src.Nickname, result.Schema, result.From, result.To)
		}
		if err == nil && !a.json {
			for _, answer := range result.Answers {
				a.printf("%s: %s\n", src.Nickname, answer)
			}
		}
	}
	return a.conclude(results, errs)
}

// checkAnswers refuses answers that can't be meant: for all sources at once, or of which one says
// that the schema is a copy and another one that it is not.
func (a *app) checkAnswers(sources []*config.Source, opts ledger.MigrateOptions, dryRun bool) error {
	switch answers := opts.NewNamespace || opts.KeyRotated || opts.Moved || opts.SetStart; {
	case opts.NewNamespace && (opts.KeyRotated || opts.Moved):
		return a.usage("--new-namespace is for a copy, --key-rotated and --moved are for a schema that is none")
	case answers && dryRun:
		return a.usage("--dry-run prints the migrations alone: leave out --new-namespace, --key-rotated, --moved and --start-at")
	case answers && len(sources) > 1:
		return a.usage("--new-namespace, --key-rotated, --moved and --start-at are about one source: name it")
	}
	return nil
}
