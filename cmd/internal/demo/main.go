//go:build unix

// Command demo shows candu-loader at work: with a throw-away Postgres, a fake
// Segment and sample interactions. It leaves nothing behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// rows is how many interactions the demo has.
const rows = 100_000

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: demo PATH-TO-CANDU-LOADER")
		os.Exit(2) //nolint:gocritic // exitAfterDefer: nothing was begun.
	}
	if err := run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func step(format string, args ...any) { fmt.Printf("\n== "+format+"\n\n", args...) }

func run(ctx context.Context, loader string) error {
	step("A throw-away Postgres, and a fake Segment that enforces the API's limits")
	server, err := loadertest.Start(ctx, loadertest.Options{})
	if err != nil {
		return err
	}
	defer server.Stop()
	fake := fakesegment.New(fakesegment.Options{})
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	web := fake.HTTP()
	defer func() { _ = web.Close() }()
	go func() { _ = web.Serve(listener) }()
	fmt.Printf("Postgres is up; fake Segment listens on http://%s\n", listener.Addr())

	url := server.URL("postgres", "postgres")
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()

	step("%d sample interactions of the last 30 days in public.candu_interactions, as Candu's export writes them", rows)
	export := loadertest.Export{Rows: rows}
	if err := errors.Join(export.Create(ctx, conn), export.Fill(ctx, conn)); err != nil {
		return err
	}
	if err := query(ctx, conn, "select kind, count(*) as rows, min(occurred_at)::date as first_day, max(occurred_at)::date as last_day from public.candu_interactions group by kind order by kind"); err != nil {
		return err
	}

	env := append(os.Environ(), "DATABASE_URL="+url, "CANDU_DEV_WRITE_KEY=demo-write-key", "MAX_EVENTS_PER_SECOND=0",
		"SEGMENT_ENDPOINT=http://"+listener.Addr().String(), "CANDU_LOADER_CONFIG=config.yaml")
	command := func(args ...string) error {
		fmt.Printf("$ candu-loader %s\n", strings.Join(args, " "))
		cmd := exec.CommandContext(ctx, loader, args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = env, os.Stdout, os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = time.Minute
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("running candu-loader %s: %w", args[0], err)
		}
		return nil
	}

	step("The schema candu_dev is made once, on purpose: in place of one that vanished, a new one would have everything sent again")
	if err := command("migrate"); err != nil {
		return err
	}
	step("One run: it sends every row, and mirrors what Segment accepted (no rate limit here; 1,000 events/s is the default)")
	if err := command("run"); err != nil {
		return err
	}
	stats := fake.Stats()
	fmt.Printf("\nThe fake Segment accepted %d events (%d screens, %d tracks), %d duplicates, %d invalid.\n",
		stats.Accepted, stats.ByType["screen"], stats.ByType["track"], stats.Duplicates, stats.Invalid)

	step("What an analyst asks, in plain SQL on the mirror: the most viewed tutorials")
	if err := query(ctx, conn, `
		select tutorial_id, count(*) as views, count(distinct coalesce(user_id, anonymous_id)) as viewers
		from candu_dev.tutorial_view
		group by tutorial_id order by views desc, tutorial_id limit 5`); err != nil {
		return err
	}
	step("... and those whose views lead to an interaction most often")
	if err := query(ctx, conn, `
		select v.tutorial_id, v.views, coalesce(i.interactions, 0) as interactions,
			round(100.0 * coalesce(i.interactions, 0) / v.views, 1) || ' %' as interaction_rate
		from (select tutorial_id, count(*) as views from candu_dev.tutorial_view group by tutorial_id) v
		left join (select tutorial_id, count(*) as interactions from candu_dev.tutorial_interaction group by tutorial_id) i using (tutorial_id)
		order by coalesce(i.interactions, 0)::numeric / v.views desc, v.tutorial_id limit 5`); err != nil {
		return err
	}

	step("A second run: it looks at the last rows once more, for others may have been committed late, and sends nothing")
	if err := command("run"); err != nil {
		return err
	}
	if again := fake.Stats(); again.Received != stats.Received {
		return fmt.Errorf("the second run sent %d events", again.Received-stats.Received)
	}
	step("Where the source stands")
	if err := command("status"); err != nil {
		return err
	}
	step("Done. Nothing is left: Postgres and the fake Segment end here")
	return web.Shutdown(ctx)
}

// query prints a result as a table.
func query(ctx context.Context, conn *pgx.Conn, sql string) error {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return fmt.Errorf("querying: %w", err)
	}
	defer rows.Close()
	table := newTable()
	var header []any
	for _, field := range rows.FieldDescriptions() {
		header = append(header, field.Name)
	}
	table.header(header)
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return fmt.Errorf("reading a row: %w", err)
		}
		for i, value := range values {
			if day, ok := value.(time.Time); ok {
				values[i] = day.Format(time.DateOnly)
			}
		}
		table.row(values)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("querying: %w", err)
	}
	table.print(os.Stdout)
	return nil
}
