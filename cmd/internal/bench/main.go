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
	quick := flag.Bool("quick", false, "a tenth of the rows, one round, and nothing that takes longer")
	flag.IntVar(&b.rows, "rows", 1_000_000, "rows of the export")
	flag.IntVar(&b.wide, "wide", 100_000, "rows of 30 KB, 0 = none")
	flag.IntVar(&b.huge, "huge", 10_000_000, "rows of a long history, 0 = none (the default takes some minutes and 12 GB)")
	flag.IntVar(&b.limited, "limited", 20_000, "rows sent at 1,000 a second, 0 = none")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds")
	flag.StringVar(&b.out, "out", "", "file for the figures as JSON")
	flag.Parse()
	if *quick {
		b.rows, b.rounds, b.wide, b.huge, b.limited = b.rows/10, 1, 0, 0, 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // exitAfterDefer: the process ends.
	}
}

type bench struct {
	rows, wide, huge, limited, rounds int
	out                               string
	server                            *loadertest.Server
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
		// It would come into one figure or another; a row of its own says what it does.
		"autovacuum=off",
	}})
	if err != nil {
		return err
	}
	defer b.server.Stop()
	if b.folder, err = os.MkdirTemp("", "candu-bench-"); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(b.folder) }()
	fmt.Printf("%s, %d cores, rounds: %d\n\n%s\n", runtime.GOARCH, runtime.NumCPU(), b.rounds, heading)
	for _, part := range []func(context.Context) error{b.whole, b.rateLimit, b.wideRows, b.history} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	b.report()
	if b.out == "" {
		return nil
	}
	text, err := json.MarshalIndent(map[string]any{"cores": runtime.NumCPU(), "arch": runtime.GOARCH, "results": b.results, "medians": b.medians(), "figures": b.figures}, "", "  ")
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

// ties is how many rows share an exported_at, as with exporters that write in batches.
const ties = 500

// world makes a database of that name and fills it.
func (b *bench) world(ctx context.Context, name string, export loadertest.Export) (*world, error) {
	export.Ties = ties
	if err := b.admin(ctx, "create database "+name); err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, b.server.URL(name, "postgres"))
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return &world{bench: b, name: name, conn: conn, rows: export.Rows}, errors.Join(export.Create(ctx, conn), export.Fill(ctx, conn))
}

// drop removes the database.
func (w *world) drop(ctx context.Context) error {
	return w.bench.admin(ctx, "drop database "+w.name+" with (force)")
}

// empty removes what the loader made, and writes what is left to be written, so that the next
// program does not pay for it.
func (w *world) empty(ctx context.Context) error {
	_, err := w.conn.Exec(ctx, "drop schema if exists candu_dev cascade; checkpoint")
	if err != nil {
		return fmt.Errorf("dropping the schema: %w", err)
	}
	return nil
}

func (b *bench) admin(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, b.server.URL("postgres", "postgres"))
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	if _, err = conn.Exec(ctx, sql); err != nil {
		err = fmt.Errorf("%s: %w", sql, err)
	}
	return errors.Join(err, conn.Close(ctx))
}
