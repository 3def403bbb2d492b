package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
)

// app is what the commands share: where to write, and the global flags.
type app struct {
	out, err io.Writer

	configPath string
	logLevel   string
	logFormat  string
	json       bool
	command    string // the path of the command whose work began or, before that, went wrong

	log      *slog.Logger
	progress *progress // nil = no run is under way
}

func (a *app) buildRootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:   "candu-loader",
		Short: "Load Candu's interactions from Postgres into Segment",
		Long: `candu-loader reads Candu's interactions from Postgres, sends them to Segment, and
mirrors every event that Segment accepted in a schema of your warehouse.

Every row ends in exactly one of two places: the mirror, or loader_rejects with a
reason, whatever crashes.

Exit codes: 0 done; 1 the work failed, run it again; 2 wrong usage or config;
3 a precondition is missing; 4 verify found a difference; 5 another loader holds
this source; 130/143 interrupted.`,
		Example: `  candu-loader check
  candu-loader run
  candu-loader status Candu_Prod`,
		Version:       loader.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.configPath, "config", cmp.Or(os.Getenv("CANDU_LOADER_CONFIG"), "config.yaml"), "configuration file; $CANDU_LOADER_CONFIG says it too")
	flags.StringVar(&a.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&a.logFormat, "log-format", "text", "text or json")
	flags.BoolVar(&a.json, "json", false, "print the result as JSON")
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.AddCommand(a.buildCheckCmd(), a.buildMigrateCmd(), a.buildRunCmd(), a.buildBackfillCmd(),
		a.buildVerifyCmd(), a.buildStatusCmd(), a.buildRejectsCmd(), a.buildExplainCmd(), a.buildForgetCmd(), a.buildDBTCmd(), a.buildAlertCmd(),
		a.buildServeCmd())
	root.InitDefaultCompletionCmd()
	a.completeNicknames(root)
	refuseUnknown(root)
	return root
}

// execute runs the command that args name, and reports what went wrong.
func (a *app) execute(ctx context.Context, args []string) error {
	root := a.buildRootCmd()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && a.command == "" {
		// It did not come to the work, and is cobra's error.
		a.command = cmd.CommandPath()
		err = a.usage("%s", strings.TrimSpace(err.Error()))
	}
	a.report(err)
	return err
}

// needs takes exactly the arguments that are named.
func needs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		command := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
		return fmt.Errorf("%s needs %s, got %s", command, strings.Join(names, " and "), human.Count(int64(len(args)), "argument"))
	}
}

// refuseUnknown makes the children of cmd that only hold subcommands refuse what is none of
// them, as cobra does for the root alone; without an argument they print their help.
func refuseUnknown(cmd *cobra.Command) {
	for _, child := range cmd.Commands() {
		if child.HasSubCommands() {
			child.Args = cobra.NoArgs
			child.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}

// report prints an error and its remedy, each on a line of its own.
func (a *app) report(err error) {
	if err == nil {
		return
	}
	for _, e := range flatten(err) {
		_, _ = fmt.Fprintf(a.err, "candu-loader: %s\n", e)
		if hint := fault.HintOf(e); hint != "" {
			_, _ = fmt.Fprintf(a.err, "hint: %s\n", hint)
		}
	}
}

// memoryOfRun keeps a run's process below 64 MiB: the garbage collector works harder rather
// than let it grow. That matters where nothing slows a run down, which takes 75 to 95 MiB without
// it and 60 with it; at Segment's 1,000 events a second it is 35 MiB either way.
const memoryOfRun = 45 << 20

// limitMemory allows for as many runs as may be under way, unless $GOMEMLIMIT does.
func limitMemory(sources int) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(min(sources, loader.RunsAtOnce)) * memoryOfRun)
	}
}

// action is what a command does with a loader and the sources that were named.
type action func(ctx context.Context, l *loader.Loader, sources []*config.Source) error

// with makes a cobra function of an action: it reads the config, makes the logger and the
// loader, and closes it.
func (a *app) with(do action) func(*cobra.Command, []string) error {
	return a.configured(func(ctx context.Context, cfg *config.Config, nicknames []string) error {
		sources, err := cfg.Select(nicknames)
		if err != nil {
			return err
		}
		limitMemory(len(sources))
		l := loader.New(cfg, a.log)
		defer l.Close()
		return do(ctx, l, sources)
	})
}

// configured makes a cobra function of what needs no loader, but the config and the logger.
func (a *app) configured(do func(ctx context.Context, cfg *config.Config, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.command = cmd.CommandPath()
		var err error
		if a.log, err = a.logger(); err != nil {
			return err
		}
		cfg, err := config.Load(a.configPath, os.LookupEnv)
		if err == nil {
			err = do(cmd.Context(), cfg, args)
		}
		return err
	}
}

func (a *app) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return nil, a.usage("--log-level %q: expected debug, info, warn or error", a.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	switch a.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(logWriter{a}, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(logWriter{a}, options)), nil
	}
	return nil, a.usage("--log-format %q: expected text or json", a.logFormat)
}

// printJSON prints a result for machines.
func (a *app) printJSON(v any) error {
	encoder := json.NewEncoder(a.out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// conclude ends a command for several sources: with their results for machines, if these were
// asked for, and what went wrong.
func (a *app) conclude(results any, errs []error) error {
	if a.json {
		errs = append(errs, a.printJSON(map[string]any{"sources": results}))
	}
	return errors.Join(errs...)
}

func (a *app) printf(format string, args ...any) { _, _ = fmt.Fprintf(a.out, format, args...) }

// jsonError is how an error stands in a result.
type jsonError struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

func asJSON(err error) *jsonError {
	if err == nil {
		return nil
	}
	return &jsonError{Kind: fault.KindOf(err).String(), Text: err.Error(), Hint: fault.HintOf(err)}
}
