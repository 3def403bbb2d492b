package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/preflight"
)

func (a *app) buildCheckCmd() *cobra.Command {
	var offline bool
	cmd := &cobra.Command{
		Use:   "check [NICKNAME...]",
		Short: "Look before you leap: find what a run would stumble over",
		Long: `Looks at the config, both databases and Segment, and changes nothing. Each finding
has a stable code, a level, and its remedy as SQL or YAML to paste. Ends with 3 if
there is an error among them.`,
		Example: `  candu-loader check
  candu-loader check Candu_Prod --offline`,
		RunE: a.with(func(ctx context.Context, l *loader.Loader, sources []*config.Source) error {
			return a.check(ctx, l, sources, offline)
		}),
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "leave Segment out")
	return cmd
}

func (a *app) check(ctx context.Context, l *loader.Loader, sources []*config.Source, offline bool) error {
	var all []preflight.Finding
	for _, src := range sources {
		all = append(all, l.Check(ctx, src, offline)...)
		if ctx.Err() != nil {
			return fault.Wrap(fault.Interrupted, ctx.Err(), "checking")
		}
	}
	counts := map[preflight.Level]int64{}
	for _, f := range all {
		counts[f.Level]++
	}
	if a.json {
		if err := a.printJSON(map[string]any{"findings": all}); err != nil {
			return err
		}
	} else {
		source := ""
		for _, f := range all {
			if f.Source != source {
				source = f.Source
				a.printf("%s\n", source)
			}
			a.printf("  %-8s %-26s %s\n", f.Level, f.Code, strings.ReplaceAll(f.Text, "\n", "\n"+strings.Repeat(" ", 38)))
			if f.Hint != "" {
				a.printf("  %-8s %-26s -> %s\n", "", "", f.Hint)
			}
		}
		a.printf("%s, %s\n", human.Count(counts[preflight.LevelError], "error"), human.Count(counts[preflight.LevelWarning], "warning"))
	}
	if n := counts[preflight.LevelError]; n > 0 {
		return fault.Wrap(fault.Precondition, errors.New("see the findings above"), "checking found %s", human.Count(n, "error"))
	}
	return nil
}
