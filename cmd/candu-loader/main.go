// Command candu-loader loads Candu's interactions from Postgres into Segment and
// mirrors what Segment accepted.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

func main() {
	os.Exit(run())
}

// run is main with its exit code. The first SIGINT or SIGTERM asks for a
// graceful end, the second ends at once.
func run() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var caught atomic.Int32
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		first := (<-signals).(syscall.Signal)
		caught.Store(int32(first))
		fmt.Fprintf(os.Stderr, "candu-loader: %s: finishing what is in flight; once more ends at once\n", first)
		cancel(fmt.Errorf("signal: %s", first))
		second := (<-signals).(syscall.Signal)
		os.Exit(signalBase + int(second))
	}()
	app := &app{out: os.Stdout, err: os.Stderr}
	err := app.execute(ctx, os.Args[1:])
	return exitCode(err, syscall.Signal(caught.Load()))
}
