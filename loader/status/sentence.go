package status

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
)

// Sentence says in plain words how a source is at now, in the source's zone.
func Sentence(s *Source, now time.Time) string {
	t := &teller{now: now, loc: s.Location()}
	switch s.State {
	case Failing:
		return t.failing(s)
	case Late:
		return t.late(s)
	case New:
		return t.never(s)
	case Running:
		return t.active(s) + "; " + t.complete(s) + "."
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
	at = at.In(t.loc)
	text, name := human.Clock(at, t.now), human.Zone(at)
	if name == "UTC" && t.zone == "" || name == t.zone {
		return text
	}
	t.zone = name
	return text + " " + name
}

func (t *teller) fresh(s *Source) string {
	switch {
	case s.CaughtUpAt != nil && s.HeldBackBy != "":
		return "Caught up at " + t.clock(*s.CaughtUpAt) + ", " + human.WordsAgo(*s.CaughtUpAt, t.now) + "."
	case s.CompleteUntil != nil:
		return "Complete until " + t.clock(*s.CompleteUntil) + ", " + human.WordsAgo(*s.CompleteUntil, t.now) + "."
	case s.WatermarkAt != nil:
		return "Loaded up to " + t.clock(*s.WatermarkAt) + ", " + human.WordsAgo(*s.WatermarkAt, t.now) + "; no run has come to the end of the export yet."
	}
	return "Nothing loaded yet: no run has come to the end of the export."
}

func (t *teller) never(s *Source) string {
	switch {
	case !s.Migrated && s.NextSlot != nil:
		return "The schema is of an older version: the run at " + t.clock(*s.NextSlot) + " upgrades it."
	case !s.Migrated:
		return "The schema is of an older version: the next run upgrades it."
	case len(s.Running) > 0:
		return "First run: " + lowerFirst(t.active(s)) + "."
	case s.NextSlot != nil:
		return "Never run: the first run is at " + t.clock(*s.NextSlot) + "."
	}
	return "Never run, and it has no schedule: start it with " + s.RunCommand() + "."
}

func (t *teller) late(s *Source) string {
	head := "Late"
	if s.CaughtUpAt != nil {
		head += ": last caught up at " + t.clock(*s.CaughtUpAt) + ", " + human.WordsAgo(*s.CaughtUpAt, t.now)
	}
	waiting := ""
	if s.WaitingRows != nil && *s.WaitingRows > 0 && len(s.Running) == 0 {
		waiting = "about " + human.Count(*s.WaitingRows, "row") + " waiting"
	}
	return human.Join("; ", head, waiting, lowerFirst(t.active(s)), t.next(s)) + "."
}

func (t *teller) failing(s *Source) string {
	head := "Failing since " + t.clock(s.Failure.Since) + ": " + t.complete(s)
	if len(s.Running) > 0 {
		return head + "; " + lowerFirst(t.active(s)) + "."
	}
	return head + "; " + t.retry(s) + "."
}

// retry says when a failed source is retried.
func (t *teller) retry(s *Source) string {
	switch {
	case s.RetryAt != nil:
		return "retrying at " + t.clock(*s.RetryAt)
	case s.NextSlot != nil:
		return t.next(s)
	}
	return "nothing retries it: start it with " + s.RunCommand()
}

func (t *teller) next(s *Source) string {
	if s.NextSlot == nil || len(s.Running) > 0 {
		return ""
	}
	return "next run at " + t.clock(*s.NextSlot)
}

func (t *teller) complete(s *Source) string {
	if s.CompleteUntil == nil {
		return "nothing is known to be complete"
	}
	return "complete until " + t.clock(*s.CompleteUntil)
}

// active says what is under way. The run that moves the watermark goes before
// backfills: it is what makes the source fresh.
func (t *teller) active(s *Source) string {
	if len(s.Running) == 0 {
		return ""
	}
	loads := func(r Run) bool { return doing[r.Kind] == "" }
	run := s.Running[max(0, slices.IndexFunc(s.Running, loads))]
	return human.Join(": ", cmp.Or(doing[run.Kind], "Loading")+" since "+t.clock(run.StartedAt), run.Progress())
}

// Progress says how far a run under way is, "" if that is not known.
func (run *Run) Progress() string {
	switch {
	case run.Expected > 0 && run.RowsRead <= run.Expected:
		return human.Number(run.RowsRead) + " of about " + human.Count(run.Expected, "row")
	case run.RowsRead > 0:
		return human.Count(run.RowsRead, "row") + " so far"
	}
	return ""
}

// Percent is how much of the expected rows a run under way has read.
func (run *Run) Percent() int64 { return min(run.RowsRead, run.Expected) * 100 / max(run.Expected, 1) }

// doing is what runs do that don't move the watermark.
var doing = map[ledger.RunKind]string{ledger.Backfill: "Backfilling", ledger.Repair: "Repairing", ledger.Retry: "Retrying rejected rows"}

// RunCommand runs the source by hand.
func (s *Source) RunCommand() string { return "candu-loader run " + human.Quote(s.Nickname) }

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
