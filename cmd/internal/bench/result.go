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

// manyName names the runs with manyInFlight.
var manyName = fmt.Sprintf("run, %d in flight", manyInFlight)

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
		conns int64
		batch float64
	}{{"run", 0, fewInFlight, batchSize}, {"run", 50, fewInFlight, batchSize}, {manyName, 50, manyInFlight, fullEvents}} {
		script, run := b.median(plain, c.delay, b.rows), b.median(c.what, c.delay, b.rows)
		name := fmt.Sprintf("%s, answers after %d ms: ", c.what, c.delay)
		b.judge(name+"wall time to the script's", run.Seconds/script.Seconds, most, 1.3, "")
		// So long the answers take, however quick all else is: where that is more than the script
		// takes in all, the ratio to the script says nothing of our own work.
		if answers := float64(b.rows) / c.batch / float64(c.conns) * float64(c.delay) / 1000; answers > script.Seconds {
			b.judge(fmt.Sprintf("... to the %.1f s that its answers take", answers), run.Seconds/answers, most, 1.3, "")
		}
		b.judge(name+"CPU to the script's", run.LoaderCPU/script.LoaderCPU, most, 1, "")
		b.judge(name+"peak memory", run.PeakMiB, most, 64, "MiB")
		b.judge(name+"connections", float64(run.Connections), most, float64(c.conns+2), "")
	}
	run := b.median("run", 0, b.rows)
	b.judge("a run that finds nothing new", b.median("run again", 0, b.rows).Seconds*1000, most, 100, "ms")
	again := b.median(againName, 0, b.rows)
	b.judge("reading again within lookback, to sending: wall time", again.Seconds/run.Seconds, most, 0.15, "")
	b.judge("... CPU of the loader and of Postgres", (again.LoaderCPU+again.PostgresCPU)/(run.LoaderCPU+run.PostgresCPU), most, 0.15, "")
	b.judge("a backfill of what was delivered", float64(b.rows)/b.median("backfill, all delivered", 0, b.rows).Seconds, least, 150_000, "rows/s")
}

// median returns the medians of a program's figures.
func (b *bench) median(what string, delay, rows int) figure {
	middle := func(of func(figure) float64) float64 {
		var values []float64
		for _, f := range b.figures {
			if f.What == what && f.DelayMillis == delay && f.Rows == rows {
				values = append(values, of(f))
			}
		}
		slices.Sort(values)
		n := len(values)
		return (values[(n-1)/2] + values[n/2]) / 2
	}
	return figure{
		What: what, Rows: rows, DelayMillis: delay,
		Seconds: middle(func(f figure) float64 { return f.Seconds }), EventsSecond: middle(func(f figure) float64 { return f.EventsSecond }),
		LoaderCPU: middle(func(f figure) float64 { return f.LoaderCPU }), PostgresCPU: middle(func(f figure) float64 { return f.PostgresCPU }),
		PeakMiB:     middle(func(f figure) float64 { return f.PeakMiB }),
		Connections: int64(middle(func(f figure) float64 { return float64(f.Connections) })),
		Sent:        int64(middle(func(f figure) float64 { return float64(f.Sent) })),
	}
}

// medians returns the medians of each program's figures, in the order in which the
// programs came.
func (b *bench) medians() []figure {
	var list []figure
	for _, f := range b.figures {
		same := func(m figure) bool { return m.What == f.What && m.Rows == f.Rows && m.DelayMillis == f.DelayMillis }
		if !slices.ContainsFunc(list, same) {
			list = append(list, b.median(f.What, f.DelayMillis, f.Rows))
		}
	}
	return list
}

func (b *bench) reportMedians() {
	fmt.Printf("\nMedians:\n%s\n", heading)
	for _, m := range b.medians() {
		fmt.Println(m.line(""))
	}
}

// report prints the results.
func (b *bench) report() {
	fmt.Printf("\n%-66s %10s %20s\n", "", "measured", "target")
	for _, r := range b.results {
		verdict := "met"
		if !r.Met {
			verdict = "MISSED"
		}
		fmt.Printf("%-66s %10s %20s  %s\n", r.What, number(r.Value), r.Bound+" "+number(r.Target)+" "+r.Unit, verdict)
	}
}

func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
