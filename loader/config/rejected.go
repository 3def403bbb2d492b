package config

import (
	"strconv"
	"strings"
)

// judgedFrom is how many new rows a share says something about.
const judgedFrom = 20

// MaxRejected is how many of a run's new rows may be rejected: a share of them, or a number.
type MaxRejected struct {
	text  string
	share float64 // counts if the text ends with %
	rows  int64
}

// ParseMaxRejected reads a share, 20%, or a number of rows, 100.
func ParseMaxRejected(text string) (MaxRejected, error) {
	m := MaxRejected{text: text}
	percent, isShare := strings.CutSuffix(text, "%")
	var err error
	if isShare {
		m.share, err = strconv.ParseFloat(percent, 64)
		m.share /= 100
	} else {
		m.rows, err = strconv.ParseInt(text, 10, 64)
	}
	// Written so that what is no number at all is refused as well.
	if err != nil || !(m.share >= 0 && m.share <= 1) || m.rows < 0 {
		return m, invalid("For example 20%, 100 or 100%.", "%q: expected a share of a run's new rows from 0%% to 100%%, or a number of rows", text)
	}
	return m, nil
}

// Exceeded reports whether so many rejected rows are too many for a run that has met so many
// new ones. Of fewer than 20 no share is judged.
func (m MaxRejected) Exceeded(rejected, fresh int64) bool {
	if strings.HasSuffix(m.text, "%") {
		return fresh >= judgedFrom && float64(rejected) > m.share*float64(fresh)
	}
	return rejected > m.rows
}

// String returns it as it was written.
func (m MaxRejected) String() string { return m.text }

// Hint is the YAML of the spellings as they are, at its place under a source, for the missing ones to
// be put in.
func (k Kinds) Hint(missing string) string {
	list := func(spellings []string) string {
		quoted := make([]string, len(spellings))
		for i, spelling := range spellings {
			quoted[i] = strconv.Quote(spelling)
		}
		return strings.Join(quoted, ", ")
	}
	if missing != "" {
		missing = "; not in a list yet: " + missing
	}
	return "interactions.kinds of the source, in the config under sources[]:\n    interactions:\n      kinds: {view: [" +
		list(k.View) + "], interaction: [" + list(k.Interaction) + "]}  # each spelling in its list" + missing
}
