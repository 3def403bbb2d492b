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

// slotMark is a slot in the strip.
type slotMark struct {
	slotKind
	At        *moment
	Run, Note string
}

func (m slotMark) Title() string {
	return human.Join(", ", m.At.Text+": "+m.Word, m.Run, human.Cut(m.Note, 300))
}

// slotKind is how a slot ended: in words, and the class of its shape and colour.
type slotKind struct{ Word, Class string }

func slotKindOf(s ledger.Slot) slotKind {
	switch {
	case s.Status == ledger.SlotMissed || s.Status == ledger.SlotRunning:
		return slotKind{string(s.Status), string(s.Status)}
	case s.Status == ledger.SlotSkippedOverlap:
		return slotKind{"skipped: the previous run was not over", "skipped"}
	case s.RunStatus == ledger.RunFailed || s.RunStatus == ledger.RunInterrupted || s.RunStatus == ledger.RunRunning:
		return slotKind{string(s.RunStatus), string(s.RunStatus)}
	case s.Status == ledger.SlotCaughtUp:
		return slotKind{"caught up by a later run", "caught"}
	}
	return slotKind{"ran", "ran"}
}

// slotMarks returns the marks, the oldest first: time goes to the right.
func slotMarks(s Source, now time.Time, loc *time.Location) []slotMark {
	finished := map[int64]status.Run{}
	for _, r := range s.LastRuns {
		finished[r.ID] = r
	}
	var out []slotMark
	for _, slot := range slices.Backward(s.Slots) {
		out = append(out, slotMark{slotKindOf(slot), stamp(&slot.At, now, loc), slotRun(slot, finished, now, loc), slot.Note})
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
	count := map[slotKind]int{}
	for _, m := range marks {
		count[m.slotKind]++
	}
	var parts []string
	for _, kind := range legend(marks) {
		parts = append(parts, fmt.Sprintf("%d %s", count[kind], kind.Word))
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
