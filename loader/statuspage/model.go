package statuspage

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/status"
)

// document is a View in the order of the page.
type document struct {
	View
	Title, Summary string
	Trouble        []trouble
	Sections       []section
}

func newDocument(v View) document {
	d := document{View: v, Summary: summary(v.Sources)}
	d.Title = title(v, d.Summary)
	for _, f := range v.Trouble {
		d.Trouble = append(d.Trouble, *troubleOf(&f, v.At, time.UTC))
	}
	for _, s := range v.Sources {
		d.Sections = append(d.Sections, newSection(s, v.At))
	}
	slices.SortStableFunc(d.Sections, func(a, b section) int {
		return slices.Index(status.States, a.State) - slices.Index(status.States, b.State)
	})
	return d
}

// ISO and Time are when the page was made.
func (d document) ISO() string  { return d.At.UTC().Format(time.RFC3339) }
func (d document) Time() string { return d.At.UTC().Format("2 Jan 2006 15:04:05 MST") }

// section is a source, its times in its zone.
type section struct {
	Source
	ID    string
	Days  *days
	Runs  []namedChart
	Marks []slotMark

	now time.Time
	loc *time.Location
}

func newSection(s Source, now time.Time) section {
	out := section{Source: s, ID: anchor(s.Nickname), now: now, loc: s.Location()}
	out.Days = newDays(s.Days, out.moment(s.DaysAsOf))
	out.Runs = runCharts(s.LastRuns, func(r status.Run) string { return clock(r.StartedAt, now, out.loc) })
	out.Marks = slotMarks(s, now, out.loc)
	return out
}

func (s section) moment(t *time.Time) *moment { return stamp(t, s.now, s.loc) }

// At is a time, or the address of one, as the page shows it; nil of no time.
func (s section) At(t any) *moment {
	switch t := t.(type) {
	case *time.Time:
		return s.moment(t)
	case time.Time:
		return s.moment(&t)
	}
	return nil
}

// NextRun is the next slot, to the second when it is near: it is by our own clock.
func (s section) NextRun() *moment {
	next := s.moment(s.NextSlot)
	if next != nil && next.Ago == "just now" {
		next.Ago = human.Ago(*s.NextSlot, s.now)
	}
	return next
}

// Trouble is why the source is failing, nil if it is not.
func (s section) Trouble() *trouble { return troubleOf(s.Failure, s.now, s.loc) }

// Lag is how long ago the source caught up, nil if it never did.
func (s section) Lag() *time.Duration {
	if s.LagSeconds == nil {
		return nil
	}
	return new(time.Duration(*s.LagSeconds * float64(time.Second)))
}

// NotProved is true if the last verification found a difference.
func (s section) NotProved() bool { return s.Proof != nil && s.Proof.NotProved() }

// Rejected is how many rows are rejected in all.
func (s section) Rejected() (n int64) {
	for _, r := range s.Rejects {
		n += r.Count
	}
	return n
}

// HasErrors is true if a run has one: an empty column only takes room.
func (s section) HasErrors() bool {
	return slices.ContainsFunc(s.LastRuns, func(r status.Run) bool { return r.Error != "" })
}

// Range is what a run under way is bounded by, "" if by nothing.
func (s section) Range(run status.Run) string {
	switch {
	case run.RangeFrom != nil && run.RangeTo != nil:
		return s.moment(run.RangeFrom).Text + " to " + s.moment(run.RangeTo).Text
	case run.RangeFrom != nil:
		return "from " + s.moment(run.RangeFrom).Text
	case run.RangeTo != nil:
		return "until " + s.moment(run.RangeTo).Text
	}
	return ""
}

// ETA guesses from the rate so far, which says nothing in the first seconds.
func (s section) ETA(run status.Run) string {
	elapsed := s.now.Sub(run.StartedAt)
	left := run.Expected - run.RowsRead
	if run.RowsRead <= 0 || left < 0 || elapsed < 5*time.Second {
		return ""
	}
	rest := time.Duration(float64(elapsed) / float64(run.RowsRead) * float64(left))
	if rest < time.Minute {
		return "less than a minute left"
	}
	return fmt.Sprintf("about %s left, done at about %s", human.Words(rest), clock(s.now.Add(rest), s.now, s.loc))
}

// trouble is a failure as the page shows it.
type trouble struct {
	*status.Failure
	At *moment
}

func troubleOf(f *status.Failure, now time.Time, loc *time.Location) *trouble {
	if f == nil {
		return nil
	}
	return &trouble{f, stamp(&f.Since, now, loc)}
}

// icons give the words for states, runs and slots a symbol, for colour alone says nothing to many.
var icons = map[string]string{
	"failing": "cross", "late": "bang", "running": "turn", "fresh": "check", "new": "ring",
	"succeeded": "check", "failed": "cross", "interrupted": "bang",
	"ran": "check", "caught": "late", "skipped": "dash", "missed": "ring",
}

func icon(word any) string { return cmp.Or(icons[fmt.Sprint(word)], "ring") }

// title says the worst first: a tab has room for two words.
func title(v View, summary string) string {
	count := countStates(v.Sources)
	if len(v.Trouble) > 0 {
		summary = "(!) " + summary
	} else if bad := count[status.Failing] + count[status.Late]; bad > 0 {
		summary = fmt.Sprintf("(%d) %s", bad, summary)
	}
	return summary + " – candu-loader"
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

func countStates(sources []Source) map[status.State]int {
	count := map[status.State]int{}
	for _, s := range sources {
		count[s.State]++
	}
	return count
}

// summary counts the sources by state, the gravest first.
func summary(sources []Source) string {
	count := countStates(sources)
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
