//go:build unix

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

const (
	// fewInFlight and batchSize are the defaults of segment.concurrency and batch_size.
	fewInFlight = 4
	batchSize   = 1_000
	// manyInFlight and fullBatch are what an answer time of 50 ms wants where there is no rate
	// limit: four requests of 1,000 events can't carry more than 80,000 events a second there.
	// A batch of at most 2,000 is full at 480,000 bytes, which are about 1,200 sample events.
	manyInFlight = 10
	fullBatch    = 2_000
	fullEvents   = 1_200
	// wideBytes makes events that are nearly as large as they may be.
	wideBytes = 30_000
	// shortHistory is what a long one is compared with.
	shortHistory = 100_000
	newRows      = 1_000
	newRounds    = 7
	// againName names runs that read all again.
	againName = "run, lookback of all"
	// perSecond is a rate limit, kept for some seconds.
	perSecond   = 1_000
	limitedRows = 20 * perSecond
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
	for round := range b.rounds {
		for _, delay := range []int{0, 50} {
			// Interleaved, so that whatever else the machine does hits all alike. Reading again takes
			// a second, so it is done after each load.
			again := job{what: againName, args: []string{"run"}, replace: []string{"lookback: 15m", "lookback: 100d"}}
			jobs := []job{{what: plain, delay: delay, sent: b.rows}, w.run(delay, 0)}
			if delay == 0 {
				jobs = append(jobs,
					job{what: "run again", args: []string{"run"}}, again,
					job{what: "backfill, all delivered", args: []string{"backfill", "Candu_Dev", "--from", "2000-01-01"}},
				)
			} else {
				many := w.run(delay, 0)
				many.what, many.replace = manyName, []string{
					"concurrency: 4", fmt.Sprintf("concurrency: %d", manyInFlight),
					"batch_size: 1000", fmt.Sprintf("batch_size: %d", fullBatch),
				}
				jobs = append(jobs, again, many, again)
			}
			for _, j := range jobs {
				if j.sent > 0 {
					if err := w.empty(ctx); err != nil {
						return err
					}
				}
				j.round = round + 1
				if _, err := w.measure(ctx, j); err != nil {
					return err
				}
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
	rows, err := w.conn.Query(ctx, `select c.relname, c.reltuples::bigint, pg_table_size(c.oid), pg_indexes_size(c.oid)
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
	if b.quick {
		return nil
	}
	w, err := b.world(ctx, "limited", loadertest.Export{Rows: limitedRows, Start: start, End: end})
	if err != nil {
		return err
	}
	j := w.run(0, 1)
	j.what, j.limit = fmt.Sprintf("run, %d a second", perSecond), perSecond
	f, err := w.measure(ctx, j)
	if err != nil {
		return err
	}
	b.judge(j.what+": most in any second", float64(f.MaxPerSecond), most, perSecond, "events")
	// Requests have a tenth of a second's events, and the last one's tenth follows it.
	b.judge("... events a second, from the first request on", limitedRows/(f.Span+0.1), least, 0.99*perSecond, "")
	return w.drop(ctx)
}

// wideRows measures the memory that the widest rows take.
func (b *bench) wideRows(ctx context.Context) error {
	if b.wide == 0 {
		return nil
	}
	w, err := b.world(ctx, "wide", loadertest.Export{Rows: b.wide, Wide: wideBytes, Start: start, End: end})
	if err != nil {
		return err
	}
	j := w.run(0, 1)
	j.what = "run, rows of 30 KB"
	f, err := w.measure(ctx, j)
	if err != nil {
		return err
	}
	b.judge(fmt.Sprintf("%d rows of 30 KB, peak memory", b.wide), f.PeakMiB, most, 64, "MiB")
	return w.drop(ctx)
}

// history measures what a long history costs.
func (b *bench) history(ctx context.Context) error {
	if b.huge == 0 {
		return nil
	}
	seconds := map[int]float64{}
	for _, rows := range []int{shortHistory, b.huge} {
		w, err := b.world(ctx, fmt.Sprintf("history%d", rows), loadertest.Export{Rows: rows, Start: start, End: end})
		if err != nil {
			return err
		}
		logged := len(b.server.Log())
		first, err := w.measure(ctx, w.run(0, 1))
		if err != nil {
			return err
		}
		if seconds[rows], err = w.grow(ctx); err != nil {
			return err
		}
		if rows == b.huge {
			b.judge(fmt.Sprintf("%d rows, peak memory", rows), first.PeakMiB, most, 64, "MiB")
			b.judge("... statements on the export of a second or more", float64(slow(b.server.Log()[logged:])), most, 0, "")
			verify, err := w.measure(ctx, job{what: "verify", args: []string{"verify", "Candu_Dev"}, round: 1})
			if err != nil {
				return err
			}
			b.judge(fmt.Sprintf("verify of %d rows", rows), verify.Seconds, most, 60, "s")
			b.judge("... peak memory", verify.PeakMiB, most, 64, "MiB")
		}
		if err := w.drop(ctx); err != nil {
			return err
		}
	}
	b.judge(fmt.Sprintf("%d new rows after %d, time to %d", newRows, b.huge, shortHistory), seconds[b.huge]/seconds[shortHistory], most, 1.3, "")
	return nil
}

// grow adds rows and runs, several times, and returns the median of the seconds.
func (w *world) grow(ctx context.Context) (float64, error) {
	// Or the first load's vacuum would compete with the short runs.
	if _, err := w.conn.Exec(ctx, "vacuum (analyze)"); err != nil {
		return 0, fmt.Errorf("cleaning up: %w", err)
	}
	what := fmt.Sprintf("run, %d new", newRows)
	from := end
	for round := range newRounds {
		more := loadertest.Export{First: w.rows + 1 + round*newRows, Rows: newRows, Start: from, End: from.Add(time.Hour)}
		from = more.End
		if err := more.Fill(ctx, w.conn); err != nil {
			return 0, err
		}
		if _, err := w.measure(ctx, job{what: what, args: []string{"run"}, round: round + 1, sent: newRows}); err != nil {
			return 0, err
		}
	}
	return w.bench.median(what, 0, w.rows).Seconds, nil
}

// slow counts the statements of a second or more that read the export.
func slow(log string) (n int) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "duration: ") && !strings.Contains(line, "insert into") && !strings.Contains(line, "analyze") &&
			!strings.Contains(line, "copy ") && !strings.Contains(line, "checkpoint") && !strings.Contains(line, "vacuum") {
			fmt.Print("slow: ", line)
			n++
		}
	}
	return n
}
