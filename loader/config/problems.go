package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Problem is one thing that is wrong in the file.
type Problem struct {
	File string
	// Line begins at 1; 0 = the whole file.
	Line int
	// Key is the path of the key, for example sources[0].lookback.
	Key string
	// Text says what is wrong and what was expected, Hint what to do.
	Text, Hint string
}

// Problems is everything that is wrong in a file, in the order of its lines.
type Problems []Problem

// Error returns a line for each problem and one for each remedy.
func (p Problems) Error() string {
	var lines []string
	for _, problem := range p {
		place := problem.File
		if problem.Line > 0 {
			place = fmt.Sprintf("%s:%d", place, problem.Line)
		}
		if problem.Key != "" {
			place += ": " + problem.Key
		}
		lines = append(lines, place+": "+problem.Text)
		if problem.Hint != "" {
			lines = append(lines, "    "+problem.Hint)
		}
	}
	return strings.Join(lines, "\n")
}

func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b Problem) int { return a.Line - b.Line })
}

// suggest returns a sentence that names the nearest known word, "" if none is near. There is at
// least one.
func suggest(word string, known []string) string {
	distance := func(to string) int { return levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(to)) }
	nearest := slices.MinFunc(known, func(a, b string) int { return distance(a) - distance(b) })
	if distance(nearest) > max(2, len(word)/3) {
		return ""
	}
	return fmt.Sprintf("Did you mean %s? ", nearest)
}
