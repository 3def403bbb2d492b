//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
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

// figure is one measured run of a program.
type figure struct {
	What         string  `json:"what"`
	Rows         int     `json:"rows"`
	DelayMillis  int     `json:"delay_millis"`
	Round        int     `json:"round"`
	Seconds      float64 `json:"seconds"`
	EventsSecond float64 `json:"events_per_second"`
	LoaderCPU    float64 `json:"loader_cpu_seconds"`
	// PostgresCPU is 0 where the system does not tell.
	PostgresCPU float64 `json:"postgres_cpu_seconds"`
	PeakMiB     float64 `json:"peak_mib"`
	Connections int64   `json:"connections"`
	Sent        int64   `json:"sent"`
	// MaxPerSecond is the greatest number of events that reached the sink within one second,
	// wherever it begins; Span is how long after the first request the last one came.
	MaxPerSecond int64   `json:"max_per_second"`
	Span         float64 `json:"span_seconds"`
}

// job says what to run.
type job struct {
	// what names the figure; plain is the script.
	what  string
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

const plain = "plain script"

// run is the loader's run that sends every row of the world.
func (w *world) run(delay, round int) job {
	return job{what: "run", args: []string{"run"}, delay: delay, round: round, sent: w.rows}
}

// measure runs a program once, as a process, against a sink that is one too.
func (w *world) measure(ctx context.Context, j job) (figure, error) {
	b := w.bench
	url, stop, err := b.sink(ctx, j.delay)
	if err != nil {
		return figure{}, err
	}
	defer stop()
	config, err := b.config(j.replace)
	if err != nil {
		return figure{}, err
	}
	cmd := exec.CommandContext(ctx, b.bin+"/candu-loader", append([]string{"--config", config, "--log-level", "error"}, j.args...)...)
	if j.what == plain {
		cmd = exec.CommandContext(ctx, b.bin+"/plain")
	}
	cmd.Env = append(os.Environ(), "DATABASE_URL="+b.server.URL(w.name, "postgres"), "CANDU_DEV_WRITE_KEY=k",
		"SEGMENT_ENDPOINT="+url, fmt.Sprintf("MAX_EVENTS_PER_SECOND=%d", j.limit))
	cmd.Stderr = os.Stderr
	before, err := w.postgresCPU(ctx)
	if err != nil {
		return figure{}, err
	}
	began := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return figure{}, fmt.Errorf("running %s: %w: %s", j.what, err, out)
	}
	f := figure{What: j.what, Rows: w.rows, DelayMillis: j.delay, Round: j.round, Seconds: time.Since(began).Seconds()}
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
	stats, err := ask(ctx, url)
	if err != nil {
		return f, err
	}
	f.Sent, f.Connections = stats.Accepted, stats.Connections-1 // One is ours.
	f.EventsSecond = float64(f.Sent) / f.Seconds
	f.MaxPerSecond, f.Span = stats.MaxPerSecond, stats.LastAt.Sub(stats.FirstAt).Seconds()
	if f.Sent != int64(j.sent) {
		return f, fmt.Errorf("%s: the sink has %d events, not %d", j.what, f.Sent, j.sent)
	}
	b.figures = append(b.figures, f)
	fmt.Println(f.line(strconv.Itoa(f.Round)))
	return f, nil
}

// heading stands over the lines of figures.
var heading = fmt.Sprintf("%-26s %9s %6s %6s %9s %10s %9s %9s %9s %6s", "what", "rows", "delay", "round", "seconds", "events/s", "CPU s", "Postgres", "peak MiB", "conns")

func (f *figure) line(round string) string {
	return fmt.Sprintf("%-26s %9d %4dms %6s %9.2f %10.0f %9.2f %9.2f %9.1f %6d",
		f.What, f.Rows, f.DelayMillis, round, f.Seconds, f.EventsSecond, f.LoaderCPU, f.PostgresCPU, f.PeakMiB, f.Connections)
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

func ask(ctx context.Context, url string) (stats fakesegment.Stats, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/stats", http.NoBody)
	if err != nil {
		return stats, fmt.Errorf("asking the sink: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return stats, fmt.Errorf("asking the sink: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&stats); err != nil {
		return stats, fmt.Errorf("asking the sink: %w", err)
	}
	return stats, nil
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
