package alert

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/status"
)

// Kind is what a notice is about.
type Kind string

// The kinds of notices. Recovered ends Failing, CaughtUp ends Late, Proved ends NotProved; the others are news
// that nothing ends.
const (
	Failing   Kind = "failing"
	Recovered Kind = "recovered"
	Late      Kind = "late"
	CaughtUp  Kind = "caught up"
	NotProved Kind = "not proved"
	Proved    Kind = "proved"
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
	return &Notice{Kind: Failing, Title: o.Source + " is failing", Text: human.Join("\n",
		fmt.Sprintf("Runs of %s have been failing since %s.", o.Source, human.Time(f.Since)),
		labelled("Error: ", f.Error), labelled("What to do: ", f.Hint), "Look: candu-loader status "+human.Quote(o.Source))}
}

// confidential finds what may be a password in a text: all between a URL's scheme and its last @, and what
// stands behind the keyword.
var confidential = regexp.MustCompile(`(?i)(://)\S*(@)|((?:ssl)?password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|\S+)`)

// labelled is a line, none without a text. It leaves out what a server said, and what may be a password:
// errors hold none, but these go to others.
func labelled(label, text string) string {
	if text == "" {
		return ""
	}
	return label + human.Cut(human.Line(confidential.ReplaceAllString(fault.WithoutWords(text), "${1}${3}***${2}")), maxError)
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
		Text: fmt.Sprintf("The lag of %s is %s; it has been over alerts.lag_over (%s) since %s.\n"+
			"What to do: see whether a long run is under way, and whether serve still runs.\nLook: candu-loader status %s",
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
		Text: fmt.Sprintf("%s was late, and alerts.lag_over has been removed from the config since then.\nLook: candu-loader status %s",
			o.Source, human.Quote(o.Source)),
	}
}

func notProved(o Observation) *Notice {
	return &Notice{
		Kind: NotProved, Title: o.Source + " is not proved",
		Text: fmt.Sprintf("%s.\nWhat to do: candu-loader verify %s   names the rows, and says what can be done.",
			human.Join(": ", "Export and mirror of "+o.Source+" differ", status.Differences(o.Proof.Failing())), human.Quote(o.Source)),
	}
}

func provedAgain(o Observation, since time.Time) *Notice {
	return &Notice{
		Kind: Proved, Title: "Export and mirror of " + o.Source + " differ no longer",
		Text: human.Join("\n", fmt.Sprintf("%s was not proved from %s on.", o.Source, human.Time(since)), labelled("Now: ", o.Proof.Sentence)),
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
		Text: fmt.Sprintf("%s of %s can't be sent, new%s: %s.\n"+
			"What to do: fix them in the export, then candu-loader rejects retry %s\nLook: candu-loader rejects list %s",
			human.Count(total, "row"), o.Source, when, strings.Join(parts, ", "), human.Quote(o.Source), human.Quote(o.Source)),
	}
}

func missed(o Observation, fresh []Missed) *Notice {
	var lines []string
	unnamed := max(0, len(fresh)-maxSlots) // The latest ones tell more about now.
	if unnamed > 0 {
		lines = append(lines, fmt.Sprintf("- %s before these, the first at %s", human.Count(int64(unnamed), "slot"), human.Time(fresh[0].Slot)))
	}
	for _, m := range fresh[unnamed:] {
		lines = append(lines, human.Join(": ", "- "+human.Time(m.Slot), human.Cut(human.Line(fault.WithoutWords(m.Why)), maxError/maxSlots)))
	}
	return &Notice{
		Kind: Slots, Title: fmt.Sprintf("%s missed %s", o.Source, human.Count(int64(len(fresh)), "slot")),
		Text: fmt.Sprintf("No run for %s of the schedule of %s:\n%s\nThe next run reads what they left. Look: candu-loader status %s",
			human.Count(int64(len(fresh)), "slot"), o.Source, strings.Join(lines, "\n"), human.Quote(o.Source)),
	}
}
