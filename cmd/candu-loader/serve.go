package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/serve"
)

func (a *app) buildServeCmd() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run all sources on their schedules, with health, metrics and a status page",
		Long: `Runs all sources that have a schedule, and answers on http.listen: / is the status page,
/api/status the same as JSON, /metrics is for Prometheus, /healthz and /readyz for probes.

Every slot of a schedule has a row in loader_slots, which says how it ended. Any
number of replicas may run side by side: each slot is taken by one of them, and taken over
when that one dies. Databases that are away are waited for.

SIGHUP reads the configuration again. SIGINT and SIGTERM finish and record what is in
flight, and exit with 130 or 143.`,
		Example: `  candu-loader serve
  candu-loader serve --once      # for cron or a container platform's own scheduler`,
		Args: cobra.NoArgs,
		RunE: a.configured(func(ctx context.Context, cfg *config.Config, _ []string) error {
			limitMemory(len(cfg.Sources))
			if once {
				return a.serveOnce(ctx, cfg)
			}
			return a.serve(ctx, cfg)
		}),
	}
	cmd.Flags().BoolVar(&once, "once", false, "run what is due, and end")
	return cmd
}

func (a *app) serve(ctx context.Context, cfg *config.Config) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	reload := make(chan struct{})
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			select {
			case <-ctx.Done():
			case reload <- struct{}{}:
			}
		}
	}()
	return serve.Run(ctx, serve.Options{
		Config: cfg, Log: a.log, Reload: reload,
		Load: func() (*config.Config, error) { return config.Load(a.configPath, os.LookupEnv) },
	})
}

func (a *app) serveOnce(ctx context.Context, cfg *config.Config) error {
	ended, err := serve.Once(ctx, cfg, a.log)
	if err != nil {
		return err
	}
	var errs []error
	results := []runResult{}
	for _, r := range ended {
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("source %q: %w", r.Source.Nickname, r.Err))
		}
		if r.Summary == nil {
			if r.Err == nil && !a.json {
				a.printf("%s: nothing is due; the next slot is %s\n", r.Source.Nickname, r.Next.Format(time.RFC3339))
			}
			continue
		}
		results = append(results, runResult{*r.Summary, asJSON(r.Err)})
		if !a.json {
			a.printf("%s\n", summaryLine(*r.Summary))
		}
	}
	return a.conclude(results, errs)
}
