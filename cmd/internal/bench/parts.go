//go:build unix

package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

const (
	// wideBytes makes events that are nearly as large as they may be.
	wideBytes = 30_000
	// shortHistory is what a long one is compared with.
	shortHistory = 100_000
	newRows      = 1_000
	newRounds    = 7
	// perSecond is a rate limit.
	perSecond = 1_000
)

// The names of runs.
const (
	plain    = "plain script"
	run      = "run"
	many     = "run, 10 in flight"
	nothing  = "run again"
	again    = "run, lookback of all"
	refill   = "backfill, all delivered"
	limited  = "run, 1000 a second"
	wideRun  = "run, rows of 30 KB"
	fewNew   = "run, 1000 new"
	verified = "verify"
	// verifiedQuick compares ids, kinds and times alone.
	verifiedQuick = "verify --quick"
	floor         = "one COPY each, one read"
	vacuumed      = "vacuum of the mirror"
)

// start and end bound the time of the sample rows. They are far enough back that lookback
// reads nothing again unless it is asked to.
var (
	end   = time.Now().Add(-30 * 24 * time.Hour).Truncate(time.Hour)
	start = end.AddDate(0, 0, -30)
)

// whole measures the whole job beside the plain script, an empty run, and two ways of
// reading what was delivered.
func (b *bench) whole(ctx context.Context) error {
	w, err := b.world(ctx, "whole", loadertest.Export{Rows: b.rows, Start: start, End: end})
	if err != nil {
		return err
	}
	lookback := []string{"lookback: 15m", "lookback: 100d"}
	// Where an answer takes 50 ms, four requests of 1,000 events carry no more than 80,000 events a
	// second: with no rate limit one wants more of them, and full ones.
	full := []string{"concurrency: 4", "concurrency: 10", "batch_size: 1000", "batch_size: 2000"}
	// In turns, so that whatever else the machine does hits all alike.
	for round := range b.rounds {
		for _, j := range []job{
			{what: plain, sent: b.rows},
			{what: run, sent: b.rows},
			{what: nothing},
			{what: again, replace: lookback},
			{what: refill, args: []string{"backfill", "Candu_Dev", "--from", "2000-01-01"}},
			{what: plain, delay: 50, sent: b.rows},
			{what: run, delay: 50, sent: b.rows},
			{what: again, replace: lookback},
			{what: many, delay: 50, sent: b.rows, replace: full},
			{what: again, replace: lookback},
		} {
			if j.sent > 0 {
				if err := w.empty(ctx); err != nil {
					return err
				}
			}
			j.round = round + 1
			if _, err := w.measure(ctx, j); err != nil {
				return err
			}
			switch {
			case j.what == run && j.delay == 0:
				err = w.floor(ctx, j.round)
			case j.what == refill:
				err = w.vacuum(ctx, j.round)
			}
			if err != nil {
				return err
			}
		}
	}
	b.judgeWhole()
	if err := w.sizes(ctx); err != nil {
		return err
	}
	return w.drop(ctx)
}

// sizes says how large a row of the mirror is.
func (w *world) sizes(ctx context.Context) error {
	if _, err := w.conn.Exec(ctx, "analyze candu_dev.screens, candu_dev.tracks, candu_dev.tutorial_interaction"); err != nil {
		return fmt.Errorf("measuring tables: %w", err)
	}
	rows, err := w.conn.Query(ctx, `select c.relname, c.reltuples, pg_table_size(c.oid), pg_indexes_size(c.oid)
		from pg_class c where c.relnamespace = 'candu_dev'::regnamespace and c.relname in ('screens', 'tracks', 'tutorial_interaction') order by 1`)
	if err != nil {
		return fmt.Errorf("measuring tables: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var n, table, index float64
		if err := rows.Scan(&name, &n, &table, &index); err != nil {
			return fmt.Errorf("measuring tables: %w", err)
		}
		if n > 0 {
			fmt.Printf("%-26s %9.0f rows, %.0f bytes a row and %.0f of index\n", name, n, table/n, index/n)
		}
	}
	return rows.Err()
}

// rateLimit measures how a rate limit is kept.
func (b *bench) rateLimit(ctx context.Context) error {
	f, err := b.once(ctx, "limited", loadertest.Export{Rows: b.limited}, job{what: limited, limit: perSecond})
	if err != nil || f == nil {
		return err
	}
	b.judge(limited+": most in any second", float64(f.MaxPerSecond), most, perSecond, "events")
	// Requests have a tenth of a second's events, and the last one's tenth follows it.
	b.judge("... events a second, from the first request on", float64(b.limited)/(f.Span+0.1), least, 0.99*perSecond, "")
	return nil
}

// wideRows measures the memory that the widest rows take.
func (b *bench) wideRows(ctx context.Context) error {
	f, err := b.once(ctx, "wide", loadertest.Export{Rows: b.wide, Wide: wideBytes}, job{what: wideRun})
	if err != nil || f == nil {
		return err
	}
	b.judge(fmt.Sprintf("%d rows of 30 KB, peak memory", b.wide), f.PeakMiB, most, memory, "MiB")
	return nil
}

// once measures one load of an export that is there for nothing else; nil of no rows.
func (b *bench) once(ctx context.Context, name string, export loadertest.Export, j job) (*figure, error) {
	if export.Rows == 0 {
		return nil, nil
	}
	export.Start, export.End = start, end
	w, err := b.world(ctx, name, export)
	if err != nil {
		return nil, err
	}
	j.round, j.sent = 1, export.Rows
	f, err := w.measure(ctx, j)
	if err != nil {
		return nil, err
	}
	return &f, w.drop(ctx)
}

// history measures what a long history costs.
func (b *bench) history(ctx context.Context) error {
	if b.huge == 0 {
		return nil
	}
	short, err := b.grow(ctx, shortHistory)
	if err != nil {
		return err
	}
	long, err := b.grow(ctx, b.huge)
	if err != nil {
		return err
	}
	b.judge(fmt.Sprintf("%d new rows after %d, time to %d", newRows, b.huge, shortHistory), long/short, most, 1.3, "")
	return nil
}

// grow loads a history, adds rows and runs, several times, and returns the median of the seconds.
func (b *bench) grow(ctx context.Context, history int) (float64, error) {
	w, err := b.world(ctx, fmt.Sprintf("history%d", history), loadertest.Export{Rows: history, Start: start, End: end})
	if err != nil {
		return 0, err
	}
	logged := len(b.server.Log())
	first, err := w.measure(ctx, job{what: run, round: 1, sent: history})
	if err != nil {
		return 0, err
	}
	// Or the first load's vacuum would compete with the short runs.
	if _, err := w.conn.Exec(ctx, "vacuum (analyze)"); err != nil {
		return 0, fmt.Errorf("cleaning up: %w", err)
	}
	more := loadertest.Export{First: history + 1, Rows: newRows, Ties: ties, Start: end, End: end.Add(time.Hour)}
	for round := range newRounds {
		if err := more.Fill(ctx, w.conn); err != nil {
			return 0, err
		}
		if _, err := w.measure(ctx, job{what: fewNew, round: round + 1, sent: newRows}); err != nil {
			return 0, err
		}
		more.First, more.Start, more.End = more.First+newRows, more.End, more.End.Add(time.Hour)
	}
	if history == b.huge {
		b.judge(fmt.Sprintf("%d rows, peak memory", history), first.PeakMiB, most, memory, "MiB")
		b.judge("... statements on the export of a second or more", float64(slow(b.server.Log()[logged:])), most, 0, "")
		verify, err := w.measure(ctx, job{what: verified, args: []string{"verify", "Candu_Dev"}, round: 1})
		if err != nil {
			return 0, err
		}
		quick, err := w.measure(ctx, job{what: verifiedQuick, args: []string{"verify", "Candu_Dev", "--quick"}, round: 1})
		if err != nil {
			return 0, err
		}
		b.judge(fmt.Sprintf("verify of %d rows", history), verify.Seconds, most, 60, "s")
		b.judge("... to ids, kinds and times alone: wall time", verify.Seconds/quick.Seconds, most, 1.5, "")
		b.judge("... peak memory", verify.PeakMiB, most, memory, "MiB")
	}
	return b.median(program{fewNew, history, 0}).Seconds, w.drop(ctx)
}

// elsewhere are statements that do not read the export.
var elsewhere = regexp.MustCompile(`insert into|analyze|copy |checkpoint|vacuum`)

// slow counts the statements of a second or more that read the export.
func slow(log string) (n int) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "duration: ") && !elsewhere.MatchString(line) {
			fmt.Print("slow: ", line)
			n++
		}
	}
	return n
}
