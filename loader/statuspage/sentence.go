package statuspage

import (
	"fmt"
	"strings"
	"time"
)

// Sentence says in plain words how a source is at now, in the source's zone.
func Sentence(s Source, now time.Time) string {
	t := &teller{now: now, loc: location(s.Timezone)}
	switch s.State {
	case Failing:
		return t.failing(s)
	case Late:
		return t.late(s)
	case Running:
		return join("; ", t.active(s), t.complete(s)) + "."
	case New:
		return t.never(s)
	case Fresh:
		if len(s.Active) > 0 {
			return join("; ", t.active(s), t.complete(s)) + "."
		}
	}
	return t.fresh(s)
}

// teller writes times. It names the zone once, and again only where it changes:
// repeated at every time it would drown the sentence.
type teller struct {
	now  time.Time
	loc  *time.Location
	zone string
}

func (t *teller) clock(at time.Time) string {
	text := clock(at, t.now, t.loc)
	name := zone(at.In(t.loc))
	if name == "UTC" && t.zone == "" || name == t.zone {
		return text
	}
	t.zone = name
	return text + " " + name
}

func (t *teller) fresh(s Source) string {
	if s.CompleteUntil != nil {
		return "Complete until " + t.clock(*s.CompleteUntil) + ", " + ago(*s.CompleteUntil, t.now) + "."
	}
	if s.WatermarkAt != nil {
		return "Loaded up to " + t.clock(*s.WatermarkAt) + ", " + ago(*s.WatermarkAt, t.now) + "; no run has got to the end of the export yet."
	}
	return "Nothing loaded yet: no run has got to the end of the export."
}

func (t *teller) never(s Source) string {
	switch {
	case len(s.Active) > 0:
		return "First run: " + lowerFirst(t.active(s)) + "."
	case s.NextSlot != nil && s.NextSlot.After(t.now):
		return "Never run: the first run is at " + t.clock(*s.NextSlot) + "."
	case s.NextSlot != nil:
		return "Never run: the first run was due at " + t.clock(*s.NextSlot) + "."
	case s.Schedule != "":
		return "Never run: its schedule has no next slot."
	default:
		return "Never run, and it has no schedule: start it with " + runCommand(s) + "."
	}
}

func (t *teller) late(s Source) string {
	head := "Late: " + t.complete(s)
	if s.CompleteUntil != nil {
		head += ", " + ago(*s.CompleteUntil, t.now)
	}
	waiting := ""
	if s.PendingRows != nil && *s.PendingRows > 0 && len(s.Active) == 0 {
		waiting = "about " + plural(*s.PendingRows, "row") + " waiting"
	}
	return join("; ", head, waiting, lowerFirst(t.active(s)), t.next(s)) + "."
}

func (t *teller) failing(s Source) string {
	head := "Failing"
	if since, least := failingSince(s); !since.IsZero() {
		head += " since "
		if least {
			head += "at least "
		}
		head += t.clock(since)
	}
	head += ": " + t.complete(s)
	if len(s.Active) > 0 {
		return join("; ", head, lowerFirst(t.active(s))) + "."
	}
	return join("; ", head, t.retry(s)) + "."
}

// retry says when a failed source is tried next.
func (t *teller) retry(s Source) string {
	switch {
	case s.RetryAt != nil && s.RetryAt.After(t.now):
		return "tried again at " + t.clock(*s.RetryAt)
	case s.RetryAt != nil:
		return "tried again any moment"
	case s.NextSlot != nil:
		return t.next(s)
	default:
		return "not tried again by itself: start it with " + runCommand(s)
	}
}

func (t *teller) next(s Source) string {
	if s.NextSlot == nil || len(s.Active) > 0 {
		return ""
	}
	if !s.NextSlot.After(t.now) {
		return "next run due"
	}
	return "next run at " + t.clock(*s.NextSlot)
}

func (t *teller) complete(s Source) string {
	if s.CompleteUntil == nil {
		return "nothing is known to be complete"
	}
	return "complete until " + t.clock(*s.CompleteUntil)
}

// active says what is under way. The run that moves the watermark goes before
// backfills: it is what makes the source fresh.
func (t *teller) active(s Source) string {
	run := foremost(s.Active)
	if run == nil {
		if s.State == Running {
			return "Loading"
		}
		return ""
	}
	text := doing(run.Kind)
	if !run.StartedAt.IsZero() {
		text += " since " + t.clock(run.StartedAt)
	}
	return join(": ", text, progressText(*run))
}

func progressText(run Active) string {
	switch {
	case run.Expected > 0 && run.RowsRead <= run.Expected:
		return number(run.RowsRead) + " of about " + plural(run.Expected, "row")
	case run.RowsRead > 0:
		return plural(run.RowsRead, "row") + " so far"
	default:
		return ""
	}
}

func foremost(runs []Active) *Active {
	for i := range runs {
		if !aside(runs[i].Kind) {
			return &runs[i]
		}
	}
	if len(runs) > 0 {
		return &runs[0]
	}
	return nil
}

// aside is true of the kinds of run that leave the watermark where it is.
func aside(kind string) bool { return kind == "backfill" || kind == "repair" }

func doing(kind string) string {
	switch kind {
	case "backfill":
		return "Backfilling"
	case "repair":
		return "Repairing"
	default:
		return "Loading"
	}
}

// failingSince is when the unbroken row of failures up to now began; least is
// true if it is as long as the list of runs, so that it may have begun before.
func failingSince(s Source) (since time.Time, least bool) {
	least = true
	for _, run := range s.Runs {
		if aside(run.Kind) || run.Status == "running" {
			continue
		}
		if run.Status == "succeeded" {
			least = false
			break
		}
		if run.Status == "failed" {
			since = run.StartedAt
			if run.FinishedAt != nil {
				since = *run.FinishedAt
			}
		}
	}
	if !since.IsZero() {
		return since, least && len(s.Runs) >= maxRuns
	}
	for _, trouble := range s.Trouble {
		if since.IsZero() || !trouble.Since.IsZero() && trouble.Since.Before(since) {
			since = trouble.Since
		}
	}
	return since, false
}

// maxRuns is how many runs a View has of a source at most.
const maxRuns = 20

func runCommand(s Source) string { return "candu-loader run " + shellWord(s.Nickname) }

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

func join(separator string, parts ...string) string {
	kept := parts[:0]
	for _, part := range parts {
		if part != "" {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, separator)
}

// summary counts the sources by state, the gravest first.
func summary(sources []Source) string {
	count := map[State]int{}
	for _, s := range sources {
		count[s.State]++
	}
	var parts []string
	for _, state := range states {
		if count[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[state], state))
		}
	}
	if len(sources) == 0 {
		return "No sources in the config"
	}
	return join(": ", plural(int64(len(sources)), "source"), strings.Join(parts, ", "))
}

// states are all, the gravest first.
var states = []State{Failing, Late, Running, Fresh, New}
