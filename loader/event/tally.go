package event

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// tallyExamples is how many rows of each reason a tally names.
const tallyExamples = 3

// Count is how many rows were rejected for one reason.
type Count struct {
	Reason Reason `json:"reason"`
	Rows   int64  `json:"rows"`
	// Examples name the first ones: "id 41: user_id and anonymous_id are missing".
	Examples []string `json:"examples"`
}

// Tally counts rejected rows by reason. The zero value has none.
type Tally struct{ counts []Count }

// Add counts a row.
func (t *Tally) Add(reason Reason, id, detail string) {
	t.plus(Count{Reason: reason, Rows: 1, Examples: []string{fmt.Sprintf("id %s: %s", Shown(id), detail)}})
}

// Shown is an id as people see it: a long one is cut, a blank one quoted.
func Shown(id string) string {
	if blank(id) {
		return strconv.Quote(cut(id))
	}
	return cut(id)
}

// Plus counts what another one has counted.
func (t *Tally) Plus(other Tally) {
	for _, count := range other.counts {
		t.plus(count)
	}
}

func (t *Tally) plus(add Count) {
	i := slices.IndexFunc(t.counts, func(c Count) bool { return c.Reason == add.Reason })
	if i < 0 {
		i = len(t.counts)
		t.counts = append(t.counts, Count{Reason: add.Reason})
	}
	have := &t.counts[i]
	have.Rows += add.Rows
	if room := tallyExamples - len(have.Examples); room > 0 {
		have.Examples = append(have.Examples, add.Examples[:min(room, len(add.Examples))]...)
	}
}

// TallyOf is the tally that has counted so.
func TallyOf(counts []Count) Tally { return Tally{counts: counts} }

// Rows is how many rows were counted.
func (t *Tally) Rows() (n int64) {
	for i := range t.counts {
		n += t.counts[i].Rows
	}
	return n
}

// Judged is how many of the rows count as too many some time: not those of people who were
// forgotten, for that was asked for.
func (t *Tally) Judged() int64 { return t.Rows() - t.Of(Forgotten) }

// Of is how many rows were counted for a reason.
func (t *Tally) Of(reason Reason) int64 {
	for i := range t.counts {
		if t.counts[i].Reason == reason {
			return t.counts[i].Rows
		}
	}
	return 0
}

// Counts returns what was counted, the most frequent reason first; it is never nil.
func (t *Tally) Counts() []Count {
	counts := append([]Count{}, t.counts...)
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Reason, b.Reason))
	})
	return counts
}

// String names each reason with its number and an example.
func (t *Tally) String() string {
	var parts []string
	for _, count := range t.Counts() {
		parts = append(parts, fmt.Sprintf("%d %s (%s)", count.Rows, count.Reason, count.Examples[0]))
	}
	return strings.Join(parts, ", ")
}
