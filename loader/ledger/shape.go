package ledger

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/candu-loader/candu-loader/queries"
)

// shapeText is what the migrations make, as [queries.Queries.DriftFacts] sees it: a test compares
// it with a schema that was just made, and writes it anew with -update.
//
//go:embed shape.txt
var shapeText string

// fact is one thing that is true of a table.
type fact = queries.DriftFactsRow

// shape are the facts of the schema, by relation.
type shape map[string][]fact

// shapeOf sorts facts.
func shapeOf(facts []fact) shape {
	s := shape{}
	for _, f := range facts {
		s[f.Relation] = append(s[f.Relation], f)
	}
	return s
}

// made is the shape that the migrations make.
var made = parseShape(shapeText)

func parseShape(text string) shape {
	var facts []fact
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		facts = append(facts, fact{
			Fact: cells[0], Relation: cells[1], Name: cells[2], Detail: cells[3], Strict: cells[4] == "true", Ours: cells[5] == "true",
		})
	}
	return shapeOf(facts)
}

// text is the shape as a file: what is the same wherever the migrations ran.
func (s shape) text() string {
	var lines []string
	for _, facts := range s {
		for _, f := range facts {
			switch f.Fact {
			case "relation":
				f.Detail, f.Strict, f.Ours = "", false, false
			case "column", "unique", "constraint":
			default:
				continue
			}
			lines = append(lines, fmt.Sprintf("%s\t%s\t%s\t%s\t%t\t%t\n", f.Fact, f.Relation, f.Name, f.Detail, f.Strict, f.Ours))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// relations are the names of the tables and views.
func (s shape) relations() []string { return slices.Sorted(maps.Keys(s)) }

// of returns the facts of one sort about a relation.
func (s shape) of(relation, sort string) (facts []fact) {
	for _, f := range s[relation] {
		if f.Fact == sort {
			facts = append(facts, f)
		}
	}
	return facts
}

// named finds a fact by its name.
func named(facts []fact, name string) *fact {
	if i := slices.IndexFunc(facts, func(f fact) bool { return f.Name == name }); i >= 0 {
		return &facts[i]
	}
	return nil
}
