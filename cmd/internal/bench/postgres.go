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
	all, err := fs.AllProcs()
	if err != nil {
		return 0, fmt.Errorf("listing processes: %w", err)
	}
	ticks := 0
	for _, p := range all {
		stat, err := p.Stat()
		if err != nil {
			continue // It has ended, and its parent counts it.
		}
		switch pid {
		case stat.PID:
			// With those of its children that have ended.
			ticks += int(stat.UTime+stat.STime) + stat.CUTime + stat.CSTime
		case stat.PPID:
			ticks += int(stat.UTime + stat.STime)
		}
	}
	return float64(ticks) / clockTicks, nil
}
