package statuspage

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/status"
)

// document is a View in the words of the templates.
type document struct {
	Style, Script, Icon string
	Title, Summary      string
	At                  *moment
	Version             string
	Trouble             []trouble
	Overview            bool
	Sources             []section
}

type trouble struct {
	Text  string
	Hint  []hintPart
	Since *moment
}

// section is a source.
type section struct {
	ID, Nickname, Schema string
	State                stateView
	Sentence             string
	Failure              *trouble
	// Brief is Lag for where there is little room.
	Lag, Brief, Waiting         string
	Watermark, Complete, Caught *moment
	HeldBack                    string
	Schedule, Zone              string
	Next, Retry                 *moment
	LastRun                     *runRow
	Active                      []activeRow
	Days                        *days
	RunCharts                   []namedChart
	Runs                        []runRow
	// Errors is true if a run has one: an empty column only takes room.
	Errors     bool
	Slots      []slotMark
	SlotsLabel string
	Legend     []slotKind
	Rejects    []rejectsRow
	RejectsAll string
	// Command starts the source by hand; only one that never ran shows it.
	Command string
}

type stateView struct{ Name, Word, Icon string }

// stateOf gives every state a word and a symbol, for colour alone says nothing to many.
func stateOf(s status.State) stateView {
	switch s {
	case status.Failing:
		return stateView{"failing", "Failing", "cross"}
	case status.Late:
		return stateView{"late", "Late", "bang"}
	case status.Running:
		return stateView{"running", "Running", "turn"}
	case status.Fresh:
		return stateView{"fresh", "Fresh", "check"}
	case status.New:
		return stateView{"new", "New", "ring"}
	}
	return stateView{"new", human.Cut(string(s), 20), "ring"}
}

func newDocument(v View) document {
	d := document{
		Style: link("style.css"), Script: link("page.js"), Icon: link("icon.svg"),
		Summary: summary(v.Sources), Version: human.Cut(v.Version, 60),
		Overview: len(v.Sources) > 1,
	}
	d.Title = title(v)
	for _, f := range v.Trouble {
		d.Trouble = append(d.Trouble, *troubleOf(&f, v.At, time.UTC))
	}
	d.At = &moment{ISO: v.At.UTC().Format(time.RFC3339), Text: v.At.UTC().Format("2 Jan 2006 15:04:05 MST")}
	sources := slices.Clone(v.Sources)
	slices.SortStableFunc(sources, func(a, b Source) int { return gravity(a.State) - gravity(b.State) })
	for _, s := range sources {
		d.Sources = append(d.Sources, newSection(s, v.At))
	}
	return d
}

// title says the worst first: a tab has room for two words.
func title(v View) string {
	worst, count := "", 0
	for _, s := range v.Sources {
		if s.State == status.Failing || s.State == status.Late {
			count++
		}
	}
	if count > 0 {
		worst = fmt.Sprintf("(%d) ", count)
	}
	if len(v.Trouble) > 0 {
		worst = "(!) "
	}
	return worst + summary(v.Sources) + " – candu-loader"
}

func gravity(s status.State) int {
	if i := slices.Index(status.States, s); i >= 0 {
		return i
	}
	return len(status.States)
}

func newSection(s Source, now time.Time) section {
	loc := s.Location()
	out := section{
		ID: anchor(s.Nickname), Nickname: s.Nickname, Schema: s.Schema, State: stateOf(s.State),
		Sentence: s.Sentence, Failure: troubleOf(s.Failure, now, loc),
		Watermark: stamp(s.WatermarkAt, now, loc), Complete: stamp(s.CompleteUntil, now, loc),
		Caught: stamp(s.CaughtUpAt, now, loc), HeldBack: human.Cut(s.HeldBackBy, 300),
		Schedule: human.Cut(s.Schedule, 120), Zone: loc.String(),
		Next: stamp(s.NextSlot, now, loc), Retry: stamp(s.RetryAt, now, loc),
		Active: activeRows(s, now, loc), Days: newDays(s.Days, stamp(s.DaysAsOf, now, loc)),
		Runs: runRows(s.LastRuns, now, loc), Slots: slotMarks(s, now, loc),
		Rejects: rejectsRows(s, now, loc), Command: s.RunCommand(),
	}
	out.RunCharts = runCharts(s.LastRuns, func(r status.Run) string { return clock(r.StartedAt, now, loc) })
	out.SlotsLabel, out.Legend = slotsLabel(out.Slots), legend(out.Slots)
	if s.LagSeconds != nil {
		lag := time.Duration(*s.LagSeconds * float64(time.Second))
		out.Lag, out.Brief = human.Words(lag), human.Duration(lag)
	}
	if s.WaitingRows != nil {
		out.Waiting = human.Number(*s.WaitingRows)
	}
	out.Errors = slices.ContainsFunc(s.LastRuns, func(r status.Run) bool { return r.Error != "" })
	if len(out.Runs) > 0 {
		out.LastRun = &out.Runs[0]
	}
	var rejected int64
	for _, r := range s.Rejects {
		rejected += r.Count
	}
	if rejected > 0 {
		out.RejectsAll = human.Number(rejected)
	}
	return out
}

// anchor makes an id of a nickname, which may have any characters. Two nicknames
// never get the same one.
func anchor(nickname string) string {
	keep := func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '-'
	}
	slug := strings.Map(keep, human.Cut(nickname, 40))
	if slug == nickname {
		return "source-" + slug
	}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(nickname))
	return fmt.Sprintf("source-%s.%x", slug, sum.Sum64())
}

func troubleOf(f *status.Failure, now time.Time, loc *time.Location) *trouble {
	if f == nil {
		return nil
	}
	return &trouble{Text: f.Error, Hint: hintParts(f.Hint), Since: stamp(&f.Since, now, loc)}
}

// activeRow is a run under way.
type activeRow struct {
	Key, Label, Range, Rows, Sent, ETA string
	Started                            *moment
	// Bar is true if it is known how much there is to read.
	Bar       bool
	Done, All int64
	Percent   string
}

func activeRows(s Source, now time.Time, loc *time.Location) []activeRow {
	var out []activeRow
	for _, run := range s.Running {
		row := activeRow{
			Key: fmt.Sprintf("active-%d", run.ID), Label: fmt.Sprintf("%s #%d", capital(human.Cut(string(run.Kind), 40)), run.ID),
			Range: rangeText(run, now, loc), Rows: run.Progress(), Sent: human.Number(run.Sent),
			Started: stamp(&run.StartedAt, now, loc),
		}
		if run.Expected > 0 {
			row.Bar, row.All, row.Done = true, run.Expected, min(run.RowsRead, run.Expected)
			row.Percent = fmt.Sprintf("%d %%", row.Done*100/row.All)
			row.ETA = eta(run, now, loc)
		}
		out = append(out, row)
	}
	return out
}

func rangeText(run status.Run, now time.Time, loc *time.Location) string {
	switch {
	case run.RangeFrom != nil && run.RangeTo != nil:
		return stamp(run.RangeFrom, now, loc).Text + " to " + stamp(run.RangeTo, now, loc).Text
	case run.RangeFrom != nil:
		return "from " + stamp(run.RangeFrom, now, loc).Text
	case run.RangeTo != nil:
		return "until " + stamp(run.RangeTo, now, loc).Text
	default:
		return ""
	}
}

// eta guesses from the rate so far, which says nothing in the first seconds.
func eta(run status.Run, now time.Time, loc *time.Location) string {
	elapsed := now.Sub(run.StartedAt)
	left := run.Expected - run.RowsRead
	if run.RowsRead <= 0 || left < 0 || elapsed < 5*time.Second {
		return ""
	}
	rest := time.Duration(float64(elapsed) / float64(run.RowsRead) * float64(left))
	if rest < time.Minute {
		return "less than a minute left"
	}
	end := now.Add(rest)
	return fmt.Sprintf("about %s left, done at about %s", human.Words(rest), clock(end, now, loc))
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// summary counts the sources by state, the gravest first.
func summary(sources []Source) string {
	count := map[status.State]int{}
	for _, s := range sources {
		count[s.State]++
	}
	var parts []string
	for _, state := range status.States {
		if count[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[state], state))
		}
	}
	if len(sources) == 0 {
		return "No sources in the config"
	}
	return human.Join(": ", human.Count(int64(len(sources)), "source"), strings.Join(parts, ", "))
}
