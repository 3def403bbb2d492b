package alert

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

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
	lines := []string{fmt.Sprintf("Runs of %s fail since %s.", o.Source, moment(f.Since))}
	if f.Error != "" {
		lines = append(lines, "Error: "+short(shown(f.Error)))
	}
	if f.Hint != "" {
		lines = append(lines, "What to do: "+short(shown(f.Hint)))
	}
	lines = append(lines, "Look: candu-loader status "+word(o.Source))
	return &Notice{Kind: Failing, Title: o.Source + " is failing", Text: strings.Join(lines, "\n")}
}

func recovered(o Observation, since time.Time) *Notice {
	return &Notice{
		Kind: Recovered, Title: o.Source + " works again",
		Text: fmt.Sprintf("%s failed from %s on, and works again after %s. Nothing is left to do.", o.Source, moment(since), span(o.At.Sub(since))),
	}
}

func late(o Observation, since time.Time, over time.Duration) *Notice {
	return &Notice{
		Kind: Late, Title: fmt.Sprintf("%s is late by %s", o.Source, span(*o.Lag)),
		Text: fmt.Sprintf("The lag of %s is %s, and over alerts.lag_over (%s) since %s.\nWhat to do: see whether a run is under way, and whether the export gets new rows.\nLook: candu-loader status %s",
			o.Source, span(*o.Lag), span(over), moment(since), word(o.Source)),
	}
}

func caughtUp(o Observation, since time.Time) *Notice {
	return &Notice{
		Kind: CaughtUp, Title: o.Source + " has caught up",
		Text: fmt.Sprintf("%s was late from %s on; its lag is down to %s. Nothing is left to do.", o.Source, moment(since), span(*o.Lag)),
	}
}

func unwatched(o Observation) *Notice {
	return &Notice{
		Kind: CaughtUp, Title: "The lag of " + o.Source + " is watched no longer",
		Text: fmt.Sprintf("%s was late, and alerts.lag_over was taken out of the config since.\nLook: candu-loader status %s", o.Source, word(o.Source)),
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
		when = " since " + moment(*since)
	}
	return &Notice{
		Kind: Rejects, Title: fmt.Sprintf("%s rejects %s", o.Source, plural(total, "row")),
		Text: fmt.Sprintf("%s of %s can't be sent, new%s: %s.\nWhat to do: mend them in the export, then candu-loader rejects retry %s\nLook: candu-loader rejects list %s",
			plural(total, "row"), o.Source, when, strings.Join(parts, ", "), word(o.Source), word(o.Source)),
	}
}

func missed(o Observation, fresh []Missed) *Notice {
	var lines []string
	for i, m := range fresh {
		// The latest ones tell more about now.
		if i < len(fresh)-maxSlots {
			continue
		}
		line := "- " + moment(m.Slot)
		if m.Why != "" {
			line += ": " + clip(flat(m.Why), maxError/maxSlots)
		}
		lines = append(lines, line)
	}
	if n := len(fresh) - len(lines); n > 0 {
		lines = append([]string{fmt.Sprintf("- %s before these, the first at %s", plural(int64(n), "slot"), moment(fresh[0].Slot))}, lines...)
	}
	return &Notice{
		Kind: Slots, Title: fmt.Sprintf("%s missed %s", o.Source, plural(int64(len(fresh)), "slot")),
		Text: fmt.Sprintf("No run for %s of the schedule of %s:\n%s\nThe next run reads what they left. Look: candu-loader status %s",
			plural(int64(len(fresh)), "slot"), o.Source, strings.Join(lines, "\n"), word(o.Source)),
	}
}

// moment is a time as the other commands print it.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// span is a duration with its two greatest units.
func span(d time.Duration) string {
	d = max(d, 0)
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	for i, u := range units {
		if d < u.size {
			continue
		}
		text := fmt.Sprintf("%d%s", d/u.size, u.name)
		if i+1 < len(units) && d%u.size >= units[i+1].size {
			text += fmt.Sprintf("%d%s", d%u.size/units[i+1].size, units[i+1].name)
		}
		return text
	}
	return "0s"
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// word is a nickname as it can be pasted in a shell.
func word(nickname string) string {
	plain := !strings.ContainsFunc(nickname, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_-.", r)
	})
	if plain && nickname != "" {
		return nickname
	}
	return "'" + strings.ReplaceAll(nickname, "'", `'\''`) + "'"
}

func short(text string) string { return clip(flat(text), maxError) }

// shown masks the passwords of database URLs. Errors hold none; but these go to others.
func shown(text string) string { return secret.URL(text).String() }

// flat puts a text on one line.
func flat(text string) string { return strings.Join(strings.Fields(text), " ") }

func clip(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-1]) + "…"
}
