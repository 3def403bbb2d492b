package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/dbt"
)

func (a *app) buildDBTCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "dbt [NICKNAME...]",
		Short: "Print a sources.yml for dbt",
		Long: `Prints the mirror's tables as sources for dbt: descriptions, tests, and freshness by when
a run last caught up. It needs no database. Freshness warns after two slots of the schedule
without that, at least a day, and is an error after twice that.`,
		Example: `  candu-loader dbt > models/candu/sources.yml
  candu-loader dbt Candu_Prod`,
		RunE: a.with(func(_ context.Context, _ *loader.Loader, sources []*config.Source) error {
			text, err := dbt.Sources(sources)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"sources_yml": string(text)})
			}
			a.printf("%s", text)
			return nil
		}),
	}
}
