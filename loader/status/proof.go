package status

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
)

// Proof is what is known of export = mirror + rejects.
type Proof struct {
	ledger.Proof
	// Schedule is the cron expression by which serve verifies, "" if it does not; NextAt is the next time.
	Schedule string     `json:"schedule,omitempty"`
	NextAt   *time.Time `json:"next_at,omitempty"`
	// Sentence says it in plain words: "proved up to 08:59, checked 6 hours ago".
	Sentence string `json:"sentence"`
}

// NotProved is true if the last verification that came to a verdict found a difference.
func (p *Proof) NotProved() bool { return p.Verdict == ledger.NotProved }

// Failing counts by class the differences that keep it from being proved.
func (p *Proof) Failing() map[string]int64 {
	failing := maps.Clone(p.Differences)
	delete(failing, ledger.Gone)
	return failing
}

// classes are those that differences always has, so that each is 0 before there is one.
var classes = []string{"missing", "changed", "doubled", "sent_again", ledger.Gone}

// ByClass counts the differences by class, those too of which there are none.
func (p *Proof) ByClass() map[string]int64 {
	counts := map[string]int64{}
	for _, class := range classes {
		counts[class] = 0
	}
	maps.Copy(counts, p.Differences)
	return counts
}

// maxReason is how much of an error the sentence repeats.
const maxReason = 200

// proof says what is known of a source's proof.
func (t *teller) proof(p *Proof) string {
	checked := ""
	if p.CheckedAt != nil {
		checked = "checked " + human.WordsAgo(*p.CheckedAt, t.now)
	}
	failed := ""
	if p.FailedAt != nil {
		failed = "the verification " + human.WordsAgo(*p.FailedAt, t.now) + " came to no verdict: " + human.Cut(human.Line(p.Error), maxReason)
	}
	last := ""
	if p.ProvedAt != nil && p.Verdict != ledger.Proved {
		last = "last proved " + human.WordsAgo(*p.ProvedAt, t.now)
	}
	return human.Join("; ", t.verdict(p, checked), last, failed)
}

// verdict is the last one that counts. What nobody checks by a schedule may be long ago, and begins with that.
func (t *teller) verdict(p *Proof, checked string) string {
	since := ""
	if p.From != nil {
		since = "for what occurred since " + t.clock(*p.From)
	}
	switch p.Verdict {
	case ledger.Proved:
		upTo := "up to " + t.clock(*p.UpTo)
		if p.Schedule == "" {
			return human.Join(", ", "last proved "+human.WordsAgo(*p.CheckedAt, t.now), upTo, since)
		}
		return human.Join(", ", "proved "+upTo, checked, since)
	case ledger.NotProved:
		return human.Join(", ", human.Join(": ", "NOT proved", Differences(p.Differences)), checked)
	case ledger.NothingToProve:
		return human.Join(", ", "nothing to prove", checked, since)
	}
	if p.NextAt != nil {
		return "never proved, first verified at " + t.clock(*p.NextAt)
	}
	return "never proved"
}

// Differences writes counts by class, the classes in the order of the alphabet.
func Differences(counts map[string]int64) string {
	var parts []string
	for _, class := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %s", human.Number(counts[class]), strings.ReplaceAll(class, "_", " ")))
	}
	return strings.Join(parts, ", ")
}
