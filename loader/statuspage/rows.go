package statuspage

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/status"
)

func runIcon(end ledger.RunStatus) string {
	switch end {
	case ledger.RunSucceeded:
		return "check"
	case ledger.RunFailed:
		return "cross"
	case ledger.RunInterrupted:
		return "bang"
	case ledger.RunRunning:
		return "turn"
	}
	return "ring"
}

// slotMark is a slot in the strip.
type slotMark struct {
	slotKind
	At    *moment
	Run   string
	Note  string
	Title string
}

// slotKind is how a slot ended: a word, a shape and a colour.
type slotKind struct{ Word, Class, Icon string }

func slotKindOf(s ledger.Slot) slotKind {
	switch s.Status {
	case ledger.SlotMissed:
		return slotKind{"missed", "missed", "ring"}
	case ledger.SlotSkippedOverlap:
		return slotKind{"skipped, the run before was not over", "skipped", "dash"}
	case ledger.SlotRunning:
		return slotKind{"running", "running", "turn"}
	}
	switch s.RunStatus {
	case ledger.RunFailed:
		return slotKind{"failed", "failed", "cross"}
	case ledger.RunInterrupted:
		return slotKind{"interrupted", "interrupted", "bang"}
	case ledger.RunRunning:
		return slotKind{"running", "running", "turn"}
	}
	if s.Status == ledger.SlotCaughtUp {
		return slotKind{"caught up by a later run", "caught", "late"}
	}
	return slotKind{"ran", "ran", "check"}
}

// slotMarks returns the marks, the oldest first: time goes to the right.
func slotMarks(s Source, now time.Time, loc *time.Location) []slotMark {
	finished := map[int64]status.Run{}
	for _, r := range s.LastRuns {
		finished[r.ID] = r
	}
	var out []slotMark
	for _, slot := range slices.Backward(s.Slots) {
		m := slotMark{slotKind: slotKindOf(slot), At: stamp(&slot.At, now, loc), Note: slot.Note}
		if m.At == nil {
			continue
		}
		m.Run = slotRun(slot, finished, now, loc)
		m.Title = human.Join(", ", m.At.Text+": "+m.Word, m.Run, human.Cut(slot.Note, 300))
		out = append(out, m)
	}
	return out
}

func slotRun(slot ledger.Slot, finished map[int64]status.Run, now time.Time, loc *time.Location) string {
	if slot.RunID == nil {
		return ""
	}
	text := fmt.Sprintf("run #%d", *slot.RunID)
	if r, ok := finished[*slot.RunID]; ok && r.FinishedAt != nil {
		text += " ended " + clock(*r.FinishedAt, now, loc) + " after " + took(r.Seconds)
	}
	return text
}

// slotsLabel says the strip in words; each of its marks stands in the table below it.
func slotsLabel(marks []slotMark) string {
	var parts []string
	for _, kind := range legend(marks) {
		n := 0
		for _, m := range marks {
			if m.slotKind == kind {
				n++
			}
		}
		parts = append(parts, fmt.Sprintf("%d %s", n, kind.Word))
	}
	return "Last " + human.Count(int64(len(marks)), "slot") + ": " + strings.Join(parts, "; ") + "."
}

// legend explains the marks that there are.
func legend(marks []slotMark) []slotKind {
	var out []slotKind
	for _, m := range marks {
		if !slices.Contains(out, m.slotKind) {
			out = append(out, m.slotKind)
		}
	}
	return out
}

// hintPart is a piece of a hint: prose, or something to type.
type hintPart struct {
	Text string
	Code bool
}

// typed finds what is to be typed in a hint: what stands in backticks, SQL with its
// first word in capitals, and a command that is the rest of the hint.
var typed = regexp.MustCompile("`[^`]+`" +
	`|\b(?:SELECT|GRANT|REVOKE|ALTER|CREATE|DROP|UPDATE|DELETE FROM|INSERT INTO|VACUUM|ANALYZE|SET) [^;` + "`" + `]*(?:;|$)` +
	`|(?:^|: )(?:candu-loader|psql|kubectl|systemctl|docker|curl) [^` + "`" + `]*$`)

func hintParts(hint string) []hintPart {
	var out []hintPart
	for hint != "" {
		at := typed.FindStringIndex(hint)
		if at == nil {
			return append(out, hintPart{Text: hint})
		}
		code := hint[at[0]:at[1]]
		if strings.HasPrefix(code, ": ") {
			at[0], code = at[0]+2, code[2:]
		}
		if at[0] > 0 {
			out = append(out, hintPart{Text: hint[:at[0]]})
		}
		out = append(out, hintPart{Text: strings.Trim(code, "`"), Code: true})
		hint = hint[at[1]:]
	}
	return out
}
