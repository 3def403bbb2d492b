//go:build unix

package main

import (
	"context"
	"fmt"

	"github.com/prometheus/procfs"
)

// clockTicks is how many there are in a second of /proc's CPU times (USER_HZ of proc_pid_stat(5)).
const clockTicks = 100

// postgresCPU returns how many seconds of CPU time the server has taken since it began, in all
// of its processes; 0 where there is no /proc to tell.
func (w *world) postgresCPU(ctx context.Context) (float64, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, nil //nolint:nilerr // On a Mac, say.
	}
	var pid int
	const postmaster = `select split_part(pg_read_file('postmaster.pid'), e'\n', 1)::int`
	if err := w.conn.QueryRow(ctx, postmaster).Scan(&pid); err != nil {
		return 0, fmt.Errorf("finding the server's process: %w", err)
	}
	for {
		before, err := reaped(fs, pid)
		if err != nil {
			return 0, err
		}
		ticks, err := childTicks(fs, pid)
		if err != nil {
			return 0, err
		}
		after, err := reaped(fs, pid)
		if err != nil {
			return 0, err
		}
		// A process that ended meanwhile stands in neither or in both: once more.
		if before == after {
			return float64(ticks+after) / clockTicks, nil
		}
	}
}

// reaped is the server's own time, with that of its children that have ended.
func reaped(fs procfs.FS, pid int) (int, error) {
	p, err := fs.Proc(pid)
	if err != nil {
		return 0, fmt.Errorf("finding the server's process: %w", err)
	}
	stat, err := p.Stat()
	if err != nil {
		return 0, fmt.Errorf("reading the server's time: %w", err)
	}
	return int(stat.UTime+stat.STime) + stat.CUTime + stat.CSTime, nil
}

// childTicks is the time of the server's children that live.
func childTicks(fs procfs.FS, pid int) (ticks int, err error) {
	all, err := fs.AllProcs()
	if err != nil {
		return 0, fmt.Errorf("listing processes: %w", err)
	}
	for _, p := range all {
		if stat, err := p.Stat(); err == nil && stat.PPID == pid {
			ticks += int(stat.UTime + stat.STime)
		}
	}
	return ticks, nil
}
