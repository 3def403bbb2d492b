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
	var b strings.Builder
	for i, problem := range p {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(problem.File)
		if problem.Line > 0 {
			fmt.Fprintf(&b, ":%d", problem.Line)
		}
		b.WriteString(": ")
		if problem.Key != "" {
			b.WriteString(problem.Key + ": ")
		}
		b.WriteString(problem.Text)
		if problem.Hint != "" {
			b.WriteString("\n    " + problem.Hint)
		}
	}
	return b.String()
}

func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b Problem) int { return a.Line - b.Line })
}

// suggest returns a sentence that names the nearest known word, "" if none is
// near.
func suggest(word string, known []string) string {
	best, distance := "", 1+max(2, len(word)/3)
	for _, candidate := range known {
		if d := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(candidate)); d < distance {
			best, distance = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("Did you mean %s? ", best)
}
