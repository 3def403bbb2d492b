//go:build unix

// Command bench measures whole runs of the programs on a throw-away Postgres and a cheap
// local sink: wall time, CPU seconds, peak memory and connections, beside a plain script
// and beside the targets.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

func main() {
	var b bench
	flag.StringVar(&b.bin, "bin", "bin", "folder of the programs")
	flag.IntVar(&b.rows, "rows", 1_000_000, "rows of the export")
	flag.IntVar(&b.wide, "wide", 100_000, "rows of 30 KB, 0 = none")
	flag.IntVar(&b.huge, "huge", 10_000_000, "rows of a long history, 0 = none (the default takes some minutes and 12 GB)")
	flag.IntVar(&b.rounds, "rounds", 3, "rounds")
	flag.BoolVar(&b.quick, "quick", false, "a tenth of the rows, one round, and nothing that takes longer")
	flag.BoolVar(&b.strict, "strict", false, "a sink that looks at each event, instead of one that counts")
	flag.StringVar(&b.out, "out", "", "file for the figures as JSON")
	flag.Parse()
	if b.quick {
		b.rows, b.rounds, b.wide, b.huge = b.rows/10, 1, 0, 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // exitAfterDefer: the process ends.
	}
}

type bench struct {
	bin                      string
	rows, wide, huge, rounds int
	strict, quick            bool
	out                      string
	server                   *loadertest.Server
	// folder is for configurations.
	folder  string
	figures []figure
	results []result
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.rounds < 1 || b.rows < 1 {
		return errors.New("measuring nothing: -rounds and -rows must be at least 1, and -rows 10 with -quick")
	}
	b.server, err = loadertest.Start(ctx, loadertest.Options{Settings: []string{
		// What takes a second or more is logged.
		"log_min_messages=log", "log_min_duration_statement=1000",
		// A server that was set up for its data, as Postgres' manual advises ("25% of the memory"); with
		// the 128 MB that let it start anywhere, a quarter of what it does to read is reading and writing files.
		"shared_buffers=1GB",
	}})
	if err != nil {
		return err
	}
	defer b.server.Stop()
	if b.folder, err = os.MkdirTemp("", "candu-bench-"); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(b.folder) }()
	fmt.Printf("%s, %d cores, rounds: %d\n\n", runtime.GOARCH, runtime.NumCPU(), b.rounds)
	fmt.Println(heading)
	for _, part := range []func(context.Context) error{b.whole, b.rateLimit, b.wideRows, b.history} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	b.reportMedians()
	b.report()
	if b.out == "" {
		return nil
	}
	text, err := json.MarshalIndent(map[string]any{"cores": runtime.NumCPU(), "arch": runtime.GOARCH, "rows": b.rows, "results": b.results, "medians": b.medians(), "figures": b.figures}, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the figures: %w", err)
	}
	return os.WriteFile(b.out, append(text, '\n'), 0o600)
}

// world is a database with an export.
type world struct {
	bench *bench
	name  string
	conn  *pgx.Conn
	rows  int
}

// world makes a database of that name and fills it.
func (b *bench) world(ctx context.Context, name string, export loadertest.Export) (*world, error) {
	conn, err := pgx.Connect(ctx, b.server.URL("postgres", "postgres"))
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	_, err = conn.Exec(ctx, "create database "+name)
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return nil, fmt.Errorf("creating database %s: %w", name, err)
	}
	if conn, err = pgx.Connect(ctx, b.server.URL(name, "postgres")); err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return &world{bench: b, name: name, conn: conn, rows: export.Rows}, errors.Join(export.Create(ctx, conn), export.Fill(ctx, conn))
}

// drop removes the database.
func (w *world) drop(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, w.bench.server.URL("postgres", "postgres"))
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	_, err = conn.Exec(ctx, "drop database "+w.name+" with (force)")
	return errors.Join(err, conn.Close(ctx))
}

// empty removes what the loader made.
func (w *world) empty(ctx context.Context) error {
	// The checkpoint, for nobody shall write what another one left.
	_, err := w.conn.Exec(ctx, "drop schema if exists candu_dev cascade; checkpoint")
	if err != nil {
		return fmt.Errorf("dropping the schema: %w", err)
	}
	return nil
}
