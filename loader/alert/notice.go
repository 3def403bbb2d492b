package alert

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// Kind is what a notice is about.
type Kind string

// The kinds of notices. Recovered ends Failing, CaughtUp ends Late; the others are news
// that nothing ends.
const (
	Failing   Kind = "failing"
	Recovered Kind = "recovered"
	Late      Kind = "late"
	CaughtUp  Kind = "caught up"
	Rejects   Kind = "rejects"
	Slots     Kind = "missed"
	Test      Kind = "test"
)

// Notice is what people are told. It holds no secrets as long as the observation holds
// none.
type Notice struct {
	Source string    `json:"source"`
	Kind   Kind      `json:"kind"`
	Title  string    `json:"title"`
	Text   string    `json:"text"`
	At     time.Time `json:"at"`
}

const (
	// maxError is how much of an error a notice repeats: PagerDuty takes 1,024 characters
	// in all.
	maxError = 400
	// maxSlots is how many missed slots a notice names.
	maxSlots = 5
)

func failing(o Observation) *Notice {
	f := o.Failure
	lines := []string{fmt.Sprintf("Runs of %s have been failing since %s.", o.Source, human.Time(f.Since))}
	if f.Error != "" {
		lines = append(lines, "Error: "+short(shown(f.Error)))
	}
	if f.Hint != "" {
		lines = append(lines, "What to do: "+short(shown(f.Hint)))
	}
	lines = append(lines, "Look: candu-loader status "+human.Quote(o.Source))
	return &Notice{Kind: Failing, Title: o.Source + " is failing", Text: strings.Join(lines, "\n")}
}

func recovered(o Observation, since time.Time) *Notice {
	return &Notice{
		Kind: Recovered, Title: o.Source + " works again",
		Text: fmt.Sprintf("%s failed from %s on, and works again after %s. Nothing is left to do.", o.Source, human.Time(since), human.Duration(o.At.Sub(since))),
	}
}

func late(o Observation, since time.Time, over time.Duration) *Notice {
	return &Notice{
		Kind: Late, Title: fmt.Sprintf("%s is late by %s", o.Source, human.Duration(*o.Lag)),
		Text: fmt.Sprintf("The lag of %s is %s; it has been over alerts.lag_over (%s) since %s.\nWhat to do: see whether a long run is under way, and whether serve still runs.\nLook: candu-loader status %s",
			o.Source, human.Duration(*o.Lag), human.Duration(over), human.Time(since), human.Quote(o.Source)),
	}
}

func caughtUp(o Observation, since time.Time) *Notice {
	return &Notice{
		Kind: CaughtUp, Title: o.Source + " has caught up",
		Text: fmt.Sprintf("%s was late from %s on; its lag is down to %s. Nothing is left to do.", o.Source, human.Time(since), human.Duration(*o.Lag)),
	}
}

func unwatched(o Observation) *Notice {
	return &Notice{
		Kind: CaughtUp, Title: "The lag of " + o.Source + " is no longer watched",
		Text: fmt.Sprintf("%s was late, and alerts.lag_over has been removed from the config since then.\nLook: candu-loader status %s", o.Source, human.Quote(o.Source)),
	}
}

func rejected(o Observation, fresh map[string]int64, since *time.Time) *Notice {
	var total int64
	var parts []string
	reasons := slices.SortedFunc(maps.Keys(fresh), func(a, b string) int {
		return cmp.Or(cmp.Compare(fresh[b], fresh[a]), cmp.Compare(a, b))
	})
	for _, reason := range reasons {
		total += fresh[reason]
		parts = append(parts, fmt.Sprintf("%s %d", reason, fresh[reason]))
	}
	when := ""
	if since != nil {
		when = " since " + human.Time(*since)
	}
	return &Notice{
		Kind: Rejects, Title: fmt.Sprintf("%s rejects %s", o.Source, human.Count(total, "row")),
		Text: fmt.Sprintf("%s of %s can't be sent, new%s: %s.\nWhat to do: mend them in the export, then candu-loader rejects retry %s\nLook: candu-loader rejects list %s",
			human.Count(total, "row"), o.Source, when, strings.Join(parts, ", "), human.Quote(o.Source), human.Quote(o.Source)),
	}
}

func missed(o Observation, fresh []Missed) *Notice {
	var lines []string
	for i, m := range fresh {
		// The latest ones tell more about now.
		if i < len(fresh)-maxSlots {
			continue
		}
		line := "- " + human.Time(m.Slot)
		if m.Why != "" {
			line += ": " + human.Cut(human.Line(m.Why), maxError/maxSlots)
		}
		lines = append(lines, line)
	}
	if n := len(fresh) - len(lines); n > 0 {
		lines = append([]string{fmt.Sprintf("- %s before these, the first at %s", human.Count(int64(n), "slot"), human.Time(fresh[0].Slot))}, lines...)
	}
	return &Notice{
		Kind: Slots, Title: fmt.Sprintf("%s missed %s", o.Source, human.Count(int64(len(fresh)), "slot")),
		Text: fmt.Sprintf("No run for %s of the schedule of %s:\n%s\nThe next run reads what they left. Look: candu-loader status %s",
			human.Count(int64(len(fresh)), "slot"), o.Source, strings.Join(lines, "\n"), human.Quote(o.Source)),
	}
}

func short(text string) string { return human.Cut(human.Line(text), maxError) }

// shown masks the passwords of database URLs. Errors hold none; but these go to others.
func shown(text string) string { return secret.URL(text).String() }
