//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
)

// program is what was measured: a name, on how many rows, before a sink that takes its time.
type program struct {
	What        string `json:"what"`
	Rows        int    `json:"rows"`
	DelayMillis int    `json:"delay_millis"`
}

// figure is one measured run of a program, or the medians of several.
type figure struct {
	program

	// Round is 0 for medians.
	Round     int     `json:"round,omitempty"`
	Seconds   float64 `json:"seconds"`
	LoaderCPU float64 `json:"loader_cpu_seconds"`
	// PostgresCPU is 0 where the system does not tell.
	PostgresCPU float64 `json:"postgres_cpu_seconds"`
	PeakMiB     float64 `json:"peak_mib"`
	Connections float64 `json:"connections"`
	Sent        float64 `json:"sent"`
	// MaxPerSecond is the greatest number of events that reached the sink within one second,
	// wherever it begins; Span is how long after the first request the last one came.
	MaxPerSecond int64   `json:"max_per_second,omitempty"`
	Span         float64 `json:"span_seconds,omitempty"`
}

// job says what to run.
type job struct {
	// what names the figure; plain is the script.
	what string
	// args of candu-loader; none are run's.
	args  []string
	delay int
	round int
	// old and new are pairs: what is replaced in config.yaml.
	replace []string
	// sent is how many events must have been accepted.
	sent int
	// limit is max_events_per_second, 0 = none.
	limit int
}

// measure runs a program once, as a process.
func (w *world) measure(ctx context.Context, j job) (figure, error) {
	b := w.bench
	fake, err := sink(ctx, j.delay)
	if err != nil {
		return figure{}, err
	}
	defer fake.Close()
	config, err := b.config(j.replace)
	if err != nil {
		return figure{}, err
	}
	if j.args == nil {
		j.args = []string{"run"}
	}
	cmd := exec.CommandContext(ctx, "bin/candu-loader", append([]string{"--config", config, "--log-level", "error"}, j.args...)...)
	if j.what == plain {
		cmd = exec.CommandContext(ctx, "bin/plain")
	}
	cmd.Env = append(os.Environ(), "DATABASE_URL="+b.server.URL(w.name, "postgres"), "CANDU_DEV_WRITE_KEY=k",
		"SEGMENT_ENDPOINT="+fake.URL(), fmt.Sprintf("MAX_EVENTS_PER_SECOND=%d", j.limit))
	cmd.Stderr = os.Stderr
	if j.what != plain {
		// The schema is made once in its life.
		migrate := exec.CommandContext(ctx, "bin/candu-loader", "--config", config, "--log-level", "error", "migrate")
		migrate.Env = cmd.Env
		if out, err := migrate.CombinedOutput(); err != nil {
			return figure{}, fmt.Errorf("migrating: %w: %s", err, out)
		}
	}
	before, err := w.postgresCPU(ctx)
	if err != nil {
		return figure{}, err
	}
	began := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return figure{}, fmt.Errorf("running %s: %w: %s", j.what, err, out)
	}
	f := figure{program: program{j.what, w.rows, j.delay}, Round: j.round, Seconds: time.Since(began).Seconds()}
	f.LoaderCPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	after, err := w.postgresCPU(ctx)
	if err != nil {
		return f, err
	}
	f.PostgresCPU = after - before
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		f.PeakMiB = float64(usage.Maxrss) / 1024
		if runtime.GOOS == "darwin" {
			f.PeakMiB /= 1024 // Bytes there, KiB elsewhere.
		}
	}
	stats := fake.Stats()
	f.Sent, f.Connections = float64(stats.Accepted), float64(stats.Connections)
	f.MaxPerSecond, f.Span = stats.MaxPerSecond, stats.LastAt.Sub(stats.FirstAt).Seconds()
	if stats.Accepted != int64(j.sent) {
		return f, fmt.Errorf("%s: the sink has %d events, not %d", j.what, stats.Accepted, j.sent)
	}
	b.figures = append(b.figures, f)
	fmt.Println(f)
	return f, nil
}

// heading stands over the lines of figures.
var heading = fmt.Sprintf("%-26s %9s %6s %6s %9s %10s %9s %9s %9s %6s", "what", "rows", "delay", "round", "seconds", "events/s", "CPU s", "Postgres", "peak MiB", "conns")

func (f figure) String() string {
	round := ""
	if f.Round > 0 {
		round = strconv.Itoa(f.Round)
	}
	return fmt.Sprintf("%-26s %9d %4dms %6s %9.2f %10.0f %9.2f %9.2f %9.1f %6.0f",
		f.What, f.Rows, f.DelayMillis, round, f.Seconds, f.Sent/f.Seconds, f.LoaderCPU, f.PostgresCPU, f.PeakMiB, f.Connections)
}

// config writes config.yaml with some settings replaced and returns its path.
func (b *bench) config(replace []string) (string, error) {
	text, err := os.ReadFile("config.yaml")
	if err != nil {
		return "", fmt.Errorf("reading the configuration: %w", err)
	}
	config := string(text)
	for i := 0; i+1 < len(replace); i += 2 {
		if !strings.Contains(config, replace[i]) {
			return "", fmt.Errorf("config.yaml has no %q", replace[i])
		}
		config = strings.Replace(config, replace[i], replace[i+1], 1)
	}
	path := filepath.Join(b.folder, "config.yaml")
	return path, os.WriteFile(path, []byte(config), 0o600)
}

// sink starts a fake Segment that only counts.
func sink(ctx context.Context, delayMillis int) (*fakesegment.Server, error) {
	fake := fakesegment.New(fakesegment.Options{CountOnly: true})
	if delayMillis > 0 {
		fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Delay, DelayMillis: delayMillis}}})
	}
	return fake, fake.Start(ctx, "127.0.0.1:0")
}
