// Command candu-loader loads Candu's interactions from Postgres into Segment and
// mirrors what Segment accepted.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"sync/atomic"
	"syscall"

	"github.com/candu-loader/candu-loader/loader"
)

// memoryLimit and gcPercent let the garbage collector wait until the memory that a run may
// have is used, and then work harder rather than let the process grow: a few pages
// are in flight, whatever the backlog. By itself it would collect at twice the live
// heap, which costs a fifth of the CPU time.
const (
	memoryLimit = 45 << 20
	gcPercent   = 400
)

// limitMemory allows for as many runs as may be under way, unless $GOMEMLIMIT does.
func limitMemory(runs int) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(max(1, min(runs, loader.RunsAtOnce))) * memoryLimit)
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(gcPercent)
		}
	}
}

// around calls what main does; a build for profiling wraps it.
var around = func(work func() int) int { return work() }

func main() {
	os.Exit(around(run))
}

// run is main with its exit code. The first SIGINT or SIGTERM asks for a
// graceful end, the second ends at once.
func run() int {
	limitMemory(1)
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
	err := app.buildRootCmd().ExecuteContext(ctx)
	app.report(err)
	return exitCode(err, syscall.Signal(caught.Load()))
}
