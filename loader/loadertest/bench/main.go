//go:build unix

// Command bench measures whole runs of the programs: wall time, CPU seconds, peak
// memory and connections, on a throw-away Postgres and a cheap local sink.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

func main() {
	var b bench
	flag.StringVar(&b.bin, "bin", "bin", "folder of the programs")
	flag.IntVar(&b.rows, "rows", 1_000_000, "rows of the export")
	flag.IntVar(&b.wide, "wide", 0, "bytes of each event name more")
	flag.IntVar(&b.rounds, "rounds", 3, "rounds")
	flag.BoolVar(&b.strict, "strict", false, "a sink that looks at each event, instead of one that counts")
	flag.StringVar(&b.out, "out", "", "file for the figures as JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // exitAfterDefer: the process ends.
	}
}

type bench struct {
	bin          string
	rows, rounds int
	wide         int
	strict       bool
	out          string
	server       *loadertest.Server
}

// figure is one measured run.
type figure struct {
	What         string  `json:"what"`
	DelayMillis  int     `json:"delay_millis"`
	Round        int     `json:"round"`
	Seconds      float64 `json:"seconds"`
	EventsSecond float64 `json:"events_per_second"`
	LoaderCPU    float64 `json:"loader_cpu_seconds"`
	PeakMiB      float64 `json:"peak_mib"`
	Connections  int64   `json:"connections"`
	Sent         int64   `json:"sent"`
}

func (b *bench) run(ctx context.Context) error {
	server, err := loadertest.Start(ctx, loadertest.Options{})
	if err != nil {
		return err
	}
	defer server.Stop()
	b.server = server
	conn, err := pgx.Connect(ctx, server.URL("postgres", "postgres"))
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	export := loadertest.Export{Rows: b.rows, Wide: b.wide}
	if err := errors.Join(export.Create(ctx, conn), export.Fill(ctx, conn)); err != nil {
		return err
	}
	var figures []figure
	fmt.Printf("%s, %d cores, %d rows\n\n", runtime.GOARCH, runtime.NumCPU(), b.rows)
	fmt.Printf("%-22s %6s %6s %9s %10s %9s %9s %6s\n", "what", "delay", "round", "seconds", "events/s", "CPU s", "peak MiB", "conns")
	for round := range b.rounds {
		for _, delay := range []int{0, 50} {
			if _, err := conn.Exec(ctx, "drop schema if exists candu_dev cascade"); err != nil {
				return fmt.Errorf("dropping the schema: %w", err)
			}
			// Interleaved, so that whatever else the machine does hits all alike.
			for _, what := range []string{"plain script", "run", "run again"} {
				f, err := b.measure(ctx, what, delay, round+1)
				if err != nil {
					return err
				}
				figures = append(figures, f)
				fmt.Printf("%-22s %4dms %6d %9.2f %10.0f %9.2f %9.1f %6d\n", f.What, f.DelayMillis, f.Round, f.Seconds, f.EventsSecond, f.LoaderCPU, f.PeakMiB, f.Connections)
			}
		}
	}
	fmt.Println()
	for _, delay := range []int{0, 50} {
		plain, run := median(figures, "plain script", delay), median(figures, "run", delay)
		fmt.Printf("at %d ms, medians, whole job to the plain script's sending alone: wall time %.2f, loader CPU %.2f, peak memory %.2f\n",
			delay, run.Seconds/plain.Seconds, run.LoaderCPU/plain.LoaderCPU, run.PeakMiB/plain.PeakMiB)
	}
	if b.out == "" {
		return nil
	}
	text, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the figures: %w", err)
	}
	return os.WriteFile(b.out, append(text, '\n'), 0o600)
}

// median returns the medians of a program's figures at an answer time.
func median(figures []figure, what string, delay int) figure {
	middle := func(of func(figure) float64) float64 {
		var values []float64
		for _, f := range figures {
			if f.What == what && f.DelayMillis == delay {
				values = append(values, of(f))
			}
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return figure{
		What: what, DelayMillis: delay,
		Seconds: middle(func(f figure) float64 { return f.Seconds }), LoaderCPU: middle(func(f figure) float64 { return f.LoaderCPU }),
		PeakMiB: middle(func(f figure) float64 { return f.PeakMiB }),
	}
}

// measure runs a program once, as a process, against a sink that is one too.
func (b *bench) measure(ctx context.Context, what string, delay, round int) (figure, error) {
	url, stop, err := b.sink(ctx, delay)
	if err != nil {
		return figure{}, err
	}
	defer stop()
	cmd := exec.CommandContext(ctx, b.bin+"/candu-loader", "--config", "config.yaml", "run")
	if what == "plain script" {
		cmd = exec.CommandContext(ctx, b.bin+"/plain")
	}
	cmd.Env = append(os.Environ(), "DATABASE_URL="+b.server.URL("postgres", "postgres"), "CANDU_DEV_WRITE_KEY=k",
		"SEGMENT_ENDPOINT="+url, "MAX_EVENTS_PER_SECOND=0")
	cmd.Stderr = os.Stderr
	began := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return figure{}, fmt.Errorf("running candu-loader: %w: %s", err, out)
	}
	f := figure{What: what, DelayMillis: delay, Round: round, Seconds: time.Since(began).Seconds()}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if ok {
		f.LoaderCPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
		f.PeakMiB = float64(usage.Maxrss) / 1024
		if runtime.GOOS == "darwin" {
			f.PeakMiB /= 1024 // Bytes there, KiB elsewhere.
		}
	}
	var stats fakesegment.Stats
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/stats", http.NoBody)
	if err != nil {
		return f, fmt.Errorf("asking the sink: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return f, fmt.Errorf("asking the sink: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&stats); err != nil {
		return f, fmt.Errorf("asking the sink: %w", err)
	}
	f.Sent, f.Connections = stats.Accepted, stats.Connections-1 // One is ours.
	f.EventsSecond = float64(f.Sent) / f.Seconds
	if what != "run again" && f.Sent != int64(b.rows) {
		return f, fmt.Errorf("the sink has %d events of %d", f.Sent, b.rows)
	}
	return f, nil
}

// sink starts fake-segment and returns its URL.
func (b *bench) sink(ctx context.Context, delay int) (string, func(), error) {
	args := []string{"--listen", "127.0.0.1:0", "--quiet", fmt.Sprintf("--delay=%dms", delay)}
	if b.strict {
		args = append(args, "--forget")
	} else {
		args = append(args, "--count-only")
	}
	cmd := exec.CommandContext(ctx, b.bin+"/fake-segment", args...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, fmt.Errorf("starting the sink: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("starting the sink: %w", err)
	}
	stop := func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(pipe).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("starting the sink: %w", err)
	}
	return strings.TrimSpace(line[strings.LastIndex(line, "http"):]), stop, nil
}
