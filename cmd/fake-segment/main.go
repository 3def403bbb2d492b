// Command fake-segment is a strict stand-in for api.segment.io, for the demo,
// tests and CI.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := buildRootCmd().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "fake-segment:", err)
		return 1
	}
	return 0
}

func buildRootCmd() *cobra.Command {
	var (
		listen string
		opts   fakesegment.Options
		fault  fakesegment.Fault
		poison fakesegment.Poison
		delay  time.Duration
		quiet  bool
	)
	cmd := &cobra.Command{
		Use:   "fake-segment",
		Short: "A strict stand-in for api.segment.io",
		Long: `A strict stand-in for Segment's tracking API, for demos, tests and CI.

  POST   /v1/batch                     takes batches as Segment does, and dedupes by messageId
  GET    /v1/projects/KEY/settings     knows write keys as Segment's CDN does
  GET    /stats                        numbers so far
  GET    /events?type=&after=&limit=   accepted events
  DELETE /events                       forgets everything
  PUT    /faults                       makes trouble, for example {"faults":[{"kind":"status","status":503,"share":0.1}]}
                                       kinds: status reset_before reset_after cut hang drop redirect delay slow
                                       {"poison":[{"user_id":"u1"}]} answers 400 for these events; also by
                                       message_id and event_name
  DELETE /faults                       ends it`,
		Example: `  fake-segment --listen 127.0.0.1:8320
  fake-segment --fault status --fault-status 429 --fault-retry-after 2 --fault-share 0.05`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !quiet {
				opts.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			}
			server := fakesegment.New(opts)
			fault.DelayMillis = int(delay.Milliseconds())
			if fault.Kind == "" && delay > 0 {
				fault.Kind = fakesegment.Delay
			}
			var faults fakesegment.Faults
			if fault.Kind != "" {
				faults.Faults = []fakesegment.Fault{fault}
			}
			if poison != (fakesegment.Poison{}) {
				faults.Poison = []fakesegment.Poison{poison}
			}
			if err := faults.Validate(); err != nil {
				return fmt.Errorf("reading flags: %w", err)
			}
			server.SetFaults(faults)
			return serve(cmd.Context(), cmd.OutOrStdout(), listen, server)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&listen, "listen", "127.0.0.1:8320", "address; port 0 chooses one and prints it")
	flags.StringSliceVar(&opts.WriteKeys, "write-key", nil, "write keys that are known; none = any. Events for others are answered with 200 and dropped, as Segment does")
	flags.BoolVar(&opts.RefuseKeys, "refuse-unknown-keys", false, "answer 401 to write keys that are not known")
	flags.DurationVar(&opts.ClockAhead, "clock-ahead", 0, "how far the clock that answers tell is ahead of this machine's, for example -3h")
	flags.BoolVar(&opts.Strict, "strict", false, "answer 400 to more than 2,500 events, which Segment answers with 200 and drops")
	flags.IntVar(&opts.Keep, "keep", 100_000, "how many events to keep for /events, 0 = all; ids are always kept")
	flags.BoolVar(&opts.Forget, "forget", false, "keep ids and numbers, no events")
	flags.BoolVar(&opts.TLS, "tls", false, "serve HTTPS with a certificate that nobody signed")
	flags.BoolVar(&opts.CountOnly, "count-only", false, "count events and look at nothing, for benchmarks")
	flags.Uint64Var(&opts.Seed, "seed", 1, "seed of the faults' dice")
	flags.BoolVar(&quiet, "quiet", false, "don't log refused requests")
	flags.StringVar(&fault.Kind, "fault", "", "kind of trouble to make")
	flags.IntVar(&fault.Status, "fault-status", 503, "status of --fault status")
	flags.IntVar(&fault.RetryAfter, "fault-retry-after", 0, "Retry-After in seconds of --fault status")
	flags.Float64Var(&fault.Share, "fault-share", 0, "part of the requests that it hits, 0 = all")
	flags.IntVar(&fault.Next, "fault-next", 0, "only that many requests, 0 = no end")
	flags.IntVar(&fault.Skip, "fault-skip", 0, "let that many requests go by first")
	flags.StringVar(&poison.MessageID, "refuse-message", "", "answer 400 for the event with this messageId")
	flags.StringVar(&poison.UserID, "refuse-user", "", "answer 400 for events of this userId")
	flags.StringVar(&poison.EventName, "refuse-event", "", "answer 400 for events with this eventName")
	flags.DurationVar(&delay, "delay", 0, "answer time")
	return cmd
}

// serve serves until ctx is done.
func serve(ctx context.Context, out io.Writer, listen string, server *fakesegment.Server) error {
	if err := server.Start(ctx, listen); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "fake-segment listens on %s\n", server.URL())
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	server.Shutdown(ctx)
	return nil
}
