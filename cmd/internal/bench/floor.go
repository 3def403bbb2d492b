//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// exported is what a run reads of the export.
const exported = `copy (select id, kind, user_id, anonymous_id, tutorial_id, segment_id, portal_id, version_id, event_name, occurred_at, exported_at
	from public.candu_interactions order by exported_at, id) to stdout (format binary)`

// mirror are the tables that a run fills.
var mirror = []string{"screens", "tracks", "tutorial_interaction"}

// floor measures what Postgres can't do with less: one read of the export, and of the rows that
// a run mirrored one COPY into each of its tables, with their keys.
func (w *world) floor(ctx context.Context, round int) error {
	conn := w.conn.PgConn()
	if _, err := w.conn.Exec(ctx, "drop schema if exists floor cascade; create schema floor"); err != nil {
		return fmt.Errorf("making tables: %w", err)
	}
	for _, table := range mirror {
		if _, err := w.conn.Exec(ctx, fmt.Sprintf("create table floor.%[1]s (like candu_dev.%[1]s including all)", table)); err != nil {
			return fmt.Errorf("making tables: %w", err)
		}
		file, err := os.Create(filepath.Join(w.bench.folder, table))
		if err != nil {
			return fmt.Errorf("keeping rows: %w", err)
		}
		_, err = conn.CopyTo(ctx, file, "copy candu_dev."+table+" to stdout (format binary)")
		if err := file.Close(); err != nil {
			return fmt.Errorf("keeping rows: %w", err)
		}
		if err != nil {
			return fmt.Errorf("keeping rows: %w", err)
		}
	}
	err := w.statements(ctx, floor, round, func() error {
		if _, err := conn.CopyTo(ctx, io.Discard, exported); err != nil {
			return err
		}
		for _, table := range mirror {
			file, err := os.Open(filepath.Join(w.bench.folder, table))
			if err != nil {
				return err
			}
			_, err = conn.CopyFrom(ctx, file, "copy floor."+table+" from stdin (format binary)")
			_ = file.Close()
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = w.conn.Exec(ctx, "drop schema floor cascade; checkpoint")
	return err
}

// vacuum measures what autovacuum would do after a load. It is switched off, for it would come
// into one figure or another.
func (w *world) vacuum(ctx context.Context, round int) error {
	return w.statements(ctx, vacuumed, round, func() error {
		_, err := w.conn.Exec(ctx, "vacuum (analyze) candu_dev.screens, candu_dev.tracks, candu_dev.tutorial_interaction")
		return err
	})
}

// statements measures what the server does for some statements of our own.
func (w *world) statements(ctx context.Context, what string, round int, do func() error) error {
	if _, err := w.conn.Exec(ctx, "checkpoint"); err != nil {
		return fmt.Errorf("writing what is left: %w", err)
	}
	before, err := w.postgresCPU(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("measuring %s: %w", what, err)
	}
	f := figure{program: program{what, w.rows, 0}, Round: round, Seconds: time.Since(began).Seconds()}
	after, err := w.postgresCPU(ctx)
	f.PostgresCPU = after - before
	w.bench.figures = append(w.bench.figures, f)
	fmt.Println(f)
	return err
}
