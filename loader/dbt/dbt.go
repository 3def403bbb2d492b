// Package dbt writes the mirror's tables as sources for dbt.
package dbt

import (
	"fmt"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
)

// The part of dbt's sources.yml that we write
// (https://docs.getdbt.com/reference/source-properties).
type (
	dbtFile struct {
		Version int         `yaml:"version"`
		Sources []dbtSource `yaml:"sources"`
	}
	dbtSource struct {
		Name        string     `yaml:"name"`
		Description string     `yaml:"description"`
		Schema      string     `yaml:"schema"`
		Tables      []dbtTable `yaml:"tables"`
	}
	dbtFreshness struct {
		WarnAfter  dbtPeriod `yaml:"warn_after"`
		ErrorAfter dbtPeriod `yaml:"error_after"`
	}
	dbtPeriod struct {
		Count  int    `yaml:"count"`
		Period string `yaml:"period"`
	}
	dbtTable struct {
		Name        string `yaml:"name"`
		Description string `yaml:"description"`
		// LoadedAtField and Freshness stand where the loader says when it last caught up: rows that
		// nobody made are no reason to warn.
		LoadedAtField string        `yaml:"loaded_at_field,omitempty"`
		Freshness     *dbtFreshness `yaml:"freshness,omitempty"`
		Columns       []dbtColumn   `yaml:"columns"`
	}
	dbtColumn struct {
		Name        string `yaml:"name"`
		Description string `yaml:"description"`
		Quote       bool   `yaml:"quote,omitempty"`
		Tests       []any  `yaml:"tests,omitempty"`
	}
)

// Sources returns a sources.yml for dbt with the schemas of those sources. It asks
// no database.
func Sources(sources []*config.Source) ([]byte, error) {
	relations, err := ledger.Relations()
	if err != nil {
		return nil, err
	}
	file := dbtFile{Version: 2}
	for _, src := range sources {
		warn := warnAfter(src)
		source := dbtSource{
			Name: src.Schema, Schema: src.Schema,
			Description: fmt.Sprintf("Candu's interactions as Segment accepted them for source %s, mirrored by candu-loader.", src.Nickname),
		}
		for _, name := range []string{"tracks", "tutorial_interaction", "screens", "tutorial_view", "tutorial_daily"} {
			source.Tables = append(source.Tables, dbtTableOf(relations[name]))
		}
		freshness := dbtTableOf(relations["loader_freshness"])
		freshness.LoadedAtField = "caught_up_at"
		freshness.Freshness = &dbtFreshness{WarnAfter: dbtPeriod{warn, "hour"}, ErrorAfter: dbtPeriod{2 * warn, "hour"}}
		source.Tables = append(source.Tables, freshness)
		file.Sources = append(file.Sources, source)
	}
	text, err := yaml.MarshalWithOptions(file, yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("encoding sources.yml: %w", err)
	}
	return text, nil
}

func dbtTableOf(relation ledger.Relation) dbtTable {
	table := dbtTable{Name: relation.Name, Description: relation.Comment}
	for _, c := range relation.Columns {
		table.Columns = append(table.Columns, dbtColumn{Name: c.Name, Description: c.Comment, Quote: c.Name == "timestamp", Tests: tests[c.Name]})
	}
	return table
}

// tests are those of the columns, by name.
var tests = map[string][]any{
	"id": {"unique", "not_null"}, "day": {"not_null"}, "tutorial_id": {"not_null"},
	"event": accepted("tutorial_interaction"), "event_text": accepted(event.InteractionName), "name": accepted(event.ViewName),
}

func accepted(value string) []any {
	return []any{map[string]any{"accepted_values": map[string][]string{"values": {value}}}}
}

// warnAfter is after how many hours without catching up something is wrong: two slots
// of the schedule, and not before a day.
func warnAfter(src *config.Source) int {
	const day = 24
	if src.Schedule == nil {
		return day
	}
	longest := time.Duration(0)
	// A Monday, so that the same schedule always gives the same file.
	slot := src.Schedule.Next(time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC))
	for range 50 {
		next := src.Schedule.Next(slot)
		longest = max(longest, next.Sub(slot))
		slot = next
	}
	return max(day, 2*int(longest.Hours()))
}
