//go:build unix

package main

import (
	"fmt"
	"slices"
)

// result is a figure beside its target.
type result struct {
	What   string  `json:"what"`
	Value  float64 `json:"value"`
	Bound  string  `json:"bound"`
	Target float64 `json:"target"`
	Unit   string  `json:"unit"`
	Met    bool    `json:"met"`
}

// The bounds.
const (
	most  = "at most"
	least = "at least"
)

// memory is how many MiB a run may take, whatever there is to do.
const memory = 64

func (b *bench) judge(what string, value float64, bound string, target float64, unit string) {
	met := value <= target
	if bound == least {
		met = value >= target
	}
	b.results = append(b.results, result{what, value, bound, target, unit, met})
}

// judgeWhole holds the medians of the whole job against its targets.
func (b *bench) judgeWhole() {
	for _, c := range []struct {
		what  string
		delay int
		conns float64
	}{{run, 0, 4}, {run, 50, 4}, {many, 50, 10}} {
		script, whole := b.median(program{plain, b.rows, c.delay}), b.median(program{c.what, b.rows, c.delay})
		name := fmt.Sprintf("%s, answers after %d ms: ", c.what, c.delay)
		wall, cpu := 1.3, 1.0
		if c.delay == 0 {
			wall, cpu = 1.1, 0.65
		}
		b.judge(name+"wall time to the script's", whole.Seconds/script.Seconds, most, wall, "")
		b.judge(name+"CPU to the script's", whole.LoaderCPU/script.LoaderCPU, most, cpu, "")
		b.judge(name+"peak memory", whole.PeakMiB, most, memory, "MiB")
		b.judge(name+"connections", whole.Connections, most, c.conns+2, "")
	}
	b.judge("Postgres' part of a run to one COPY each and one read",
		b.median(program{run, b.rows, 0}).PostgresCPU/b.median(program{floor, b.rows, 0}).PostgresCPU, most, 1.6, "")
	load, reading := b.median(program{run, b.rows, 0}), b.median(program{again, b.rows, 0})
	b.judge("a run that finds nothing new", b.median(program{nothing, b.rows, 0}).Seconds*1000, most, 100, "ms")
	b.judge("reading again within lookback, to sending: wall time", reading.Seconds/load.Seconds, most, 0.15, "")
	b.judge("... CPU of the loader and of Postgres", (reading.LoaderCPU+reading.PostgresCPU)/(load.LoaderCPU+load.PostgresCPU), most, 0.15, "")
	b.judge("a backfill of what was delivered", float64(b.rows)/b.median(program{refill, b.rows, 0}).Seconds, least, 150_000, "rows/s")
}

// median returns the medians of a program's figures.
func (b *bench) median(p program) figure {
	middle := func(of func(figure) float64) float64 {
		var values []float64
		for _, f := range b.figures {
			if f.program == p {
				values = append(values, of(f))
			}
		}
		slices.Sort(values)
		n := len(values)
		return (values[(n-1)/2] + values[n/2]) / 2
	}
	return figure{
		program:     p,
		Seconds:     middle(func(f figure) float64 { return f.Seconds }),
		LoaderCPU:   middle(func(f figure) float64 { return f.LoaderCPU }),
		PostgresCPU: middle(func(f figure) float64 { return f.PostgresCPU }),
		PeakMiB:     middle(func(f figure) float64 { return f.PeakMiB }),
		Connections: middle(func(f figure) float64 { return f.Connections }),
		Sent:        middle(func(f figure) float64 { return f.Sent }),
	}
}

// medians returns the medians of all programs, in the order in which they came.
func (b *bench) medians() []figure {
	var list []figure
	for _, f := range b.figures {
		if !slices.ContainsFunc(list, func(m figure) bool { return m.program == f.program }) {
			list = append(list, b.median(f.program))
		}
	}
	return list
}

// report prints the medians and the results.
func (b *bench) report() {
	fmt.Printf("\nMedians:\n%s\n", heading)
	for _, m := range b.medians() {
		fmt.Println(m)
	}
	fmt.Printf("\n%-66s %10s %20s\n", "", "measured", "target")
	for _, r := range b.results {
		verdict := "met"
		if !r.Met {
			verdict = "MISSED"
		}
		fmt.Printf("%-66s %10.2f %20s  %s\n", r.What, r.Value, fmt.Sprintf("%s %g %s", r.Bound, r.Target, r.Unit), verdict)
	}
}
