package statuspage

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/status"
)

// chart is a bar chart. Across it counts in percent, down in pixels: so it takes any
// width without a script, and its text keeps its size.
type chart struct {
	// Label is the summary that a screen reader says in place of the picture.
	Label string
	// Plot is the height of the bars' area, Height that of all.
	Plot, Height int
	Bars         []bar
	Grid         []gridLine
	Ticks        []tick
}

type bar struct {
	Key, Title string
	// Left and Width are the bar's, Slot and SlotWidth those of the area around it
	// that shows the title.
	Left, Width, Middle, Slot, SlotWidth string
	Parts                                []part
	// Mark says beside the colour that the bar is one to look at.
	Mark *barMark
}

type barMark struct{ Text, Class, X, Y string }

type (
	part     struct{ Class, Y, H string }
	gridLine struct{ Y, Text string }
	tick     struct{ X, Anchor, Text string }
)

func percent(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) + "%" }
func pixels(f float64) string  { return strconv.FormatFloat(f, 'f', 1, 64) }

// newChart makes the frame of a chart with room for bars up to top.
func newChart(plot int, top float64, text func(float64) string) chart {
	c := chart{Plot: plot, Height: plot + 20}
	for _, share := range []float64{0, 0.5, 1} {
		c.Grid = append(c.Grid, gridLine{Y: pixels(float64(plot) * (1 - share)), Text: text(top * share)})
	}
	return c
}

// place sets where the bar number i of n stands.
func (b *bar) place(i, n int) {
	slot := 100 / float64(n)
	b.Slot, b.SlotWidth = percent(float64(i)*slot), percent(slot)
	b.Middle = percent((float64(i) + 0.5) * slot)
	b.Left, b.Width = percent((float64(i)+0.14)*slot), percent(slot*0.72)
}

// stack puts values on top of each other. What is more than nothing is seen.
func (b *bar) stack(plot int, top float64, classes []string, values ...float64) {
	floor := float64(plot)
	for i, value := range values {
		if value <= 0 {
			continue
		}
		height := math.Max(value/top*float64(plot), 1.5)
		gap := 0.0
		if len(b.Parts) > 0 && height > 3 {
			gap = 1 // Two colours next to each other may look alike.
		}
		b.Parts = append(b.Parts, part{Class: classes[i], Y: pixels(floor - height), H: pixels(height - gap)})
		floor -= height
	}
}

// mark puts a sign on top of the bar of a run that did not succeed.
func (b *bar) mark(end ledger.RunStatus, share float64) {
	if sign := map[ledger.RunStatus]string{ledger.RunFailed: "×", ledger.RunInterrupted: "!"}[end]; sign != "" {
		b.Mark = &barMark{Text: sign, Class: "bar-" + string(end), X: b.Middle, Y: pixels(plotRuns*(1-share) - 2)}
	}
}

// ticks labels the first, the middle and the last of n bars.
func ticks(n int, text func(int) string) []tick {
	out := []tick{{"0%", "start", text(0)}}
	if n > 6 {
		out = append(out, tick{percent((float64(n/2) + 0.5) * 100 / float64(n)), "middle", text(n / 2)})
	}
	if n > 1 {
		out = append(out, tick{"100%", "end", text(n - 1)})
	}
	return out
}

// roundUp returns the next round number from value on.
func roundUp(value float64) float64 {
	if value <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(value)))
	for _, step := range []float64{1, 1.2, 1.6, 2, 3, 4, 5, 6, 8} {
		if value <= step*power {
			return step * power
		}
	}
	return 10 * power
}

// roundUpSeconds is roundUp for a duration, whose half is to be round as well.
func roundUpSeconds(value float64) float64 {
	if value <= 20 {
		return roundUp(value)
	}
	for _, top := range []float64{30, 60, 120, 240, 600, 1200, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400} {
		if value <= top {
			return top
		}
	}
	return 86_400 * roundUp(value/86_400)
}

const plotDays, plotRuns = 132, 64

// shownRuns is for how many runs the charts have a place.
const shownRuns = 20

// headroom leaves room for a mark on top of the highest bar.
const headroom = 1.15

// days is the chart of the last days' events and its table.
type days struct {
	Chart chart
	Most  string
	// AsOf is when they were counted, if more came since.
	AsOf *moment
}

func newDays(source []ledger.Day, asOf *moment) *days {
	if len(source) == 0 {
		return nil
	}
	most, peak, all := "", int64(0), int64(0)
	for _, d := range source {
		events := d.Views + d.Interactions
		if all += events; events > peak {
			most, peak = d.Date, events
		}
	}
	top := math.Max(roundUp(float64(peak)), 2)
	out := &days{Chart: newChart(plotDays, top, compact), Most: "none", AsOf: asOf}
	if peak > 0 {
		out.Most = human.Number(peak) + " on " + dayText(most)
	}
	for i, d := range source {
		b := bar{Key: d.Date, Title: fmt.Sprintf("%s: %s, %s", dayText(d.Date), human.Count(d.Views, "view"), human.Count(d.Interactions, "interaction"))}
		b.place(i, len(source))
		b.stack(plotDays, top, []string{"views", "interactions"}, float64(d.Views), float64(d.Interactions))
		out.Chart.Bars = append(out.Chart.Bars, b)
	}
	out.Chart.Ticks = ticks(len(source), func(i int) string { return dayText(source[i].Date) })
	out.Chart.Label = fmt.Sprintf("Events per day from %s to %s: %s in all, most %s.",
		dayText(source[0].Date), dayText(source[len(source)-1].Date), human.Number(all), out.Most)
	return out
}

// dayText writes 2026-01-31 as 31 Jan.
func dayText(date string) string {
	t, _ := time.Parse(time.DateOnly, date) // As the database wrote it.
	return t.Format("2 Jan")
}

// runCharts draws the runs' durations and rates, the oldest at the left.
func runCharts(runs []status.Run, stamp func(status.Run) string) []namedChart {
	if len(runs) == 0 {
		return nil
	}
	var longest, fastest float64
	for _, r := range runs {
		longest, fastest = math.Max(longest, r.Seconds), math.Max(fastest, r.EventsPerSecond)
	}
	seconds := func(r status.Run) float64 { return r.Seconds }
	perSecond := func(r status.Run) float64 { return r.EventsPerSecond }
	shown, last := human.Count(int64(len(runs)), "run"), runs[0]
	duration := runChart(runs, roundUpSeconds(longest*headroom), seconds, axisSeconds, stamp)
	duration.Label = fmt.Sprintf("Duration of the last %s: the longest took %s, the last %s.", shown, took(longest), took(last.Seconds))
	speed := runChart(runs, roundUp(fastest*headroom), perSecond, compact, stamp)
	speed.Label = fmt.Sprintf("Events per second of the last %s: at most %s, in the last %s.", shown, rate(fastest), rate(last.EventsPerSecond))
	return []namedChart{{"Duration", "longest " + took(longest), duration}, {"Events per second", "fastest " + rate(fastest), speed}}
}

type namedChart struct {
	Name, Most string
	Chart      chart
}

func runChart(runs []status.Run, top float64, value func(status.Run) float64, axis func(float64) string, stamp func(status.Run) string) chart {
	c := newChart(plotRuns, top, axis)
	for i := range runs {
		run := runs[len(runs)-1-i]
		b := bar{Key: strconv.FormatInt(run.ID, 10), Title: fmt.Sprintf("#%d %s %s, %s: %s, %s events/s",
			run.ID, human.Cut(string(run.Kind), 40), human.Cut(string(run.Status), 40), stamp(run), took(run.Seconds), rate(run.EventsPerSecond))}
		// A fixed number of places: two runs must not look like a whole day each.
		b.place(shownRuns-min(len(runs), shownRuns)+i, max(len(runs), shownRuns))
		b.stack(plotRuns, top, []string{"bar-" + string(run.Status)}, value(run))
		b.mark(run.Status, value(run)/top)
		c.Bars = append(c.Bars, b)
	}
	c.Ticks = []tick{{"0%", "start", "older"}, {"100%", "end", "newest"}}
	return c
}

// axisSeconds is took with fewer characters.
func axisSeconds(seconds float64) string {
	if seconds < 60 {
		return strconv.FormatFloat(seconds, 'g', 3, 64) + "s"
	}
	return human.Seconds(seconds)
}
