package lineage

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// Hash tells configurations of a source from one another: of what decides which rows are
// read, when, and what is sent of them. No secret is in it, and no URL: machines may reach one database
// by different ways.
func Hash(src *config.Source) string {
	slots := ""
	if src.Schedule != nil {
		slots = src.Schedule.String()
	}
	facts := map[string]any{
		"schedule": slots, "timezone": src.Location.String(), "catch_up": src.CatchUp, "start_now": src.StartAt.Now,
		"start_at": src.StartAt.At.UTC().Format(time.RFC3339Nano), "lookback": src.Lookback, "table": src.Interactions.Table, "columns": src.Interactions.Columns,
		"kinds": src.Interactions.Kinds, "max_rejected": src.MaxRejected.String(), "integrations": src.Integrations,
	}
	if path := src.Interactions.SearchPath; len(path) > 0 {
		facts["search_path"] = path // Else the hash is what it was before there was the key.
	}
	if zone := src.Interactions.Zone; zone != source.DefaultZone {
		facts["interactions_timezone"] = zone
	}
	text, err := json.Marshal(facts)
	if err != nil {
		return "" // It was read from YAML, and can be written.
	}
	hash := sha256.Sum256(text)
	return hex.EncodeToString(hash[:])
}

// Change is what the configuration says otherwise than what the runs before went by.
type Change struct{ Code, Text, Hint string }

// Changes are what the configuration says otherwise than what the runs before went by, where that
// is not done by writing it.
func Changes(src *config.Source, state ledger.State) []Change {
	var found []Change
	if text, hint := startChange(src, state); text != "" {
		found = append(found, Change{Code: "start_at_changed", Text: text, Hint: hint})
	}
	if text := mappingChange(src, state); text != "" {
		nickname := human.Quote(src.Nickname)
		found = append(found, Change{
			Code: "mapping_changed", Text: text + ": rows that were sent or rejected before stay as they were, in Segment and in the mirror",
			Hint: fmt.Sprintf("candu-loader rejects retry %s   tries the rejected ones again. candu-loader verify %[1]s   compares rows as they are read now with what was sent.", nickname),
		})
	}
	return found
}

// startChange says that a start_at was changed after the first run, which alone asks for it.
func startChange(src *config.Source, state ledger.State) (text, hint string) {
	begun := state.StartAt != nil || state.WatermarkAt != nil
	want := StartAt(src)
	switch {
	case !begun, src.StartAt.Now && state.StartAt != nil, !src.StartAt.Now && sameTime(want, state.StartAt):
		return "", ""
	}
	nickname := human.Quote(src.Nickname)
	text = fmt.Sprintf("start_at is %s, but the first run began at %s, and that counts", startWords(want, src.StartAt.Now), startWords(state.StartAt, false))
	switch {
	case src.StartAt.Now:
		return text, "Write `start_at: beginning`, as it was."
	case state.StartAt != nil && (want == nil || want.Before(*state.StartAt)):
		text += ": rows exported between the two are not loaded"
		hint = "candu-loader migrate " + nickname + " --start-at   has the next run read them; "
	default:
		text += ": what was exported between the two counts as before"
		hint = "candu-loader migrate " + nickname + " --start-at   leaves them out of verify, and of what is still to be read; "
	}
	return text, hint + "or write " + startWords(state.StartAt, false) + " as before. candu-loader backfill " + nickname + " --from DATE --to DATE   sends a range alone."
}

// StartAt is where the configuration has the first run begin; nil = the beginning, or now.
func StartAt(src *config.Source) *time.Time {
	if src.StartAt.At.IsZero() {
		return nil
	}
	return &src.StartAt.At
}

// sameTime compares as Postgres keeps times.
func sameTime(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Round(time.Microsecond).Equal(b.Round(time.Microsecond))
}

func startWords(at *time.Time, now bool) string {
	switch {
	case now:
		return "now"
	case at == nil:
		return "beginning"
	}
	return human.Exact(*at)
}

// mapping is how rows are read.
type mapping struct {
	// Columns maps canonical names to the table's, where these differ.
	Columns map[string]string `json:"columns"`
	// Kinds maps spellings of the column kind; empty if there is none, or if it is left aside.
	Kinds map[string]string `json:"kinds"`
}

func mappingOf(src *config.Source) mapping {
	m := mapping{Columns: map[string]string{}, Kinds: map[string]string{}}
	for canonical, name := range src.Interactions.Columns {
		if name != canonical {
			m.Columns[canonical] = name
		}
	}
	for _, spelling := range src.Interactions.Kinds.View {
		m.Kinds[spelling] = "view"
	}
	for _, spelling := range src.Interactions.Kinds.Interaction {
		m.Kinds[spelling] = "interaction"
	}
	return m
}

// String is how it is stored.
func (m mapping) String() string {
	text, err := json.Marshal(m)
	if err != nil {
		panic(err) // Texts can be written.
	}
	return string(text)
}

// mappingChange says how rows are read otherwise than by the last run, "" if they are not, or if nobody knows.
func mappingChange(src *config.Source, state ledger.State) string {
	var before mapping
	if state.Configs.Mapping == "" || json.Unmarshal([]byte(state.Configs.Mapping), &before) != nil {
		return ""
	}
	now := mappingOf(src)
	var parts []string
	for _, name := range keysOf(before.Columns, now.Columns) {
		if was, is := cmp.Or(before.Columns[name], name), cmp.Or(now.Columns[name], name); was != is {
			parts = append(parts, fmt.Sprintf("%s is read from column %q, until now from %q", name, is, was))
		}
	}
	switch was, is := len(before.Kinds), len(now.Kinds); {
	case was > 0 && is == 0:
		parts = append(parts, "kinds is by_event_name, until now there were spellings")
	case was == 0 && is > 0:
		parts = append(parts, "kinds has spellings, until now it was by_event_name")
	default:
		for _, spelling := range keysOf(before.Kinds, now.Kinds) {
			if before.Kinds[spelling] != now.Kinds[spelling] {
				parts = append(parts, fmt.Sprintf("kind %q means %s, until now %s", spelling, cmp.Or(now.Kinds[spelling], "nothing"), cmp.Or(before.Kinds[spelling], "nothing")))
			}
		}
	}
	return strings.Join(parts, "; ")
}

func keysOf(a, b map[string]string) []string {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return slices.Sorted(maps.Keys(both))
}

// Mapping is how rows are read, as it is stored.
func Mapping(src *config.Source) string { return mappingOf(src).String() }
