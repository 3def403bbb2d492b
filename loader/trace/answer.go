package trace

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/human"
)

// selectRow decides whether the next run reads the row, as the run itself would.
func (x *explainer) selectRow() {
	exported := x.row.ExportedAt
	s := &Selection{
		WatermarkAt: x.State.WatermarkAt, WatermarkID: x.State.WatermarkID, StartAt: x.State.StartAt,
		LookbackSeconds: x.Source.Lookback.Seconds(),
	}
	x.out.Selection = s
	if x.Source.Schedule != nil {
		s.NextSlot = new(x.Source.Schedule.Next(x.out.At))
	}
	first := x.State.WatermarkAt == nil && x.State.StartAt == nil
	if first && !x.Source.StartAt.At.IsZero() {
		s.StartAt = &x.Source.StartAt.At
	}
	cursor := x.ReadsFrom
	if !cursor.IsZero() {
		s.ReadsFrom = &cursor.At
	}
	if mark := s.WatermarkAt; mark != nil && !exported.IsZero() {
		s.Passed = exported.Before(*mark) || exported.Equal(*mark) && s.WatermarkID != nil && !idLess(*s.WatermarkID, x.row.ID)
	}
	switch {
	case exported.IsZero():
		s.Why = "its exported_at is NULL, and such a row is never read"
	case x.inherited():
		s.Why = "it is left to another schema, of which this one is a copy: it was exported before this one got its namespace at the watermark " +
			human.Exact(*x.State.NamespaceSince)
	case s.StartAt != nil && exported.Before(*s.StartAt):
		s.Why = "it was exported before start_at " + human.Exact(*s.StartAt)
	case first && x.Source.StartAt.Now && exported.Before(x.exportsNow()):
		s.Why = "start_at is now, and it was exported before the first run"
	case first:
		s.NextRunReadsIt, s.Why = true, "no run has read anything yet"
	case x.Export.Table().Earlier(exported, cursor.At) || exported.Equal(cursor.At) && cursor.ID != nil && !idLess(*cursor.ID, x.row.ID):
		s.Why = fmt.Sprintf("the watermark %s passed it by more than lookback %s", human.Exact(*s.WatermarkAt), human.Duration(x.Source.Lookback))
	case s.Passed:
		s.NextRunReadsIt = true
		s.Why = fmt.Sprintf("the watermark %s passed it, but by no more than lookback %s", human.Exact(*s.WatermarkAt), human.Duration(x.Source.Lookback))
	default:
		s.NextRunReadsIt, s.Why = true, fmt.Sprintf("the watermark %s has not reached it", human.Exact(*s.WatermarkAt))
	}
}

// inherited reports whether the row was exported before a copy got a namespace of its own.
func (x *explainer) inherited() bool {
	at, id := x.State.NamespaceSince, x.State.NamespaceSinceID
	exported := x.row.ExportedAt
	return at != nil && (exported.Before(*at) || exported.Equal(*at) && id != nil && !idLess(*id, x.row.ID))
}

// exportsNow is the export's clock, by which a start of now is told.
func (x *explainer) exportsNow() time.Time {
	now, _ := x.Export.Clock()
	return now
}

// idLess orders ids as the export does if they are numbers; of texts the database's
// collation may think otherwise, which only matters between rows of the watermark's own moment.
func idLess(a, b string) bool {
	if len(a) != len(b) && strings.Trim(a+b, "0123456789") == "" {
		return len(a) < len(b)
	}
	return a < b
}

// conclude says where the event is.
func (x *explainer) conclude() {
	out := &x.out
	switch {
	case x.row != nil && x.inherited() && (len(out.Mirror) == 0 || out.Mirror[0].MessageID != out.MessageID):
		// What the mirror has of it, the original mirrored.
		out.Place, out.Answer = Excluded, "This schema did not send it, and no run will: "+out.Selection.Why+"."
	case len(out.Mirror) > 0:
		out.Place, out.Answer = InMirror, x.mirrored()
	case out.Reject != nil:
		out.Place, out.Answer = InRejects, x.rejected()
	case out.Selection.NextRunReadsIt:
		out.Place, out.Answer = Pending, x.pending()
	case out.ExportedAt == nil || out.Selection.StartAt != nil && out.ExportedAt.Before(*out.Selection.StartAt) || out.Selection.WatermarkAt == nil:
		out.Place, out.Answer = Excluded, "It was not sent, and no run will send it: "+out.Selection.Why+"."
		if out.ExportedAt != nil && out.Selection.WatermarkAt != nil {
			out.Answer += fmt.Sprintf(" `candu-loader backfill %s --from DAY --to DAY_AFTER` does.", human.Quote(out.Source))
		}
	default:
		out.Place = Missing
		out.Answer = fmt.Sprintf("It is not in the mirror: %s, so it was committed late, or its row of the mirror was deleted; `candu-loader verify %s --repair` sends it.",
			out.Selection.Why, human.Quote(out.Source))
	}
}

func (x *explainer) mirrored() string {
	out := &x.out
	row := out.Mirror[0]
	var b strings.Builder
	b.WriteString("Segment accepted it")
	if row.ReceivedAt != nil {
		b.WriteString(" on " + human.Exact(*row.ReceivedAt))
	}
	word := "in"
	for _, run := range out.Runs {
		fmt.Fprintf(&b, " %s run %d", word, run.ID)
		word = "or"
	}
	fmt.Fprintf(&b, ", and it stands in %s.%s under id %s", out.Schema, row.Table, row.MessageID)
	switch {
	case out.ExportError != "":
		b.WriteString("; the export could not be asked for its row")
	case out.Row == nil:
		b.WriteString("; its row is gone from the export")
	case x.State.Forgotten.Has(x.row):
		b.WriteString("; its row names somebody who was forgotten, so the mirror keeps no identity of it")
	case slices.Contains(event.MessageIDs(x.State.Originals, x.row), row.MessageID):
		b.WriteString("; another schema, of which this one is a copy, sent it, so no run of this one does")
	case out.MessageID != row.MessageID:
		b.WriteString("; its row was changed in the export since, and would make another event today")
	case out.Selection != nil && !out.Selection.Passed && out.ExportedAt != nil:
		b.WriteString("; the watermark has not reached it yet, so that rows which commit late are found: runs read it again and pass over it")
	}
	return b.String() + "."
}

func (x *explainer) rejected() string {
	out := &x.out
	r := out.Reject
	if r.Reason == string(event.Forgotten) {
		return fmt.Sprintf("It is of somebody who was forgotten (%s): no run, backfill, repair or retry sends it.", r.Detail)
	}
	became := "not sent"
	if r.Reason == string(event.RefusedBySegment) {
		became = "sent and refused"
	}
	text := fmt.Sprintf("It was %s: %s (%s), tried %s, last on %s; ", became, r.Reason, r.Detail, human.Times(int64(r.Attempts)), human.Exact(r.LastSeenAt))
	switch {
	case out.ExportError != "":
		return text + "the export could not be asked for its row."
	case out.Row == nil:
		return text + "its row is gone from the export, so it can't be tried again."
	case out.Event != nil && !event.Reason(r.Reason).Stays():
		return text + fmt.Sprintf("its row was mended since, and `candu-loader rejects retry %s` sends it.", human.Quote(out.Source))
	}
	return text + fmt.Sprintf("mend the row in the export, then run `candu-loader rejects retry %s`.", human.Quote(out.Source))
}

func (x *explainer) pending() string {
	out := &x.out
	what := "sends it"
	if out.WouldReject != nil {
		what = fmt.Sprintf("will reject it (%s: %s)", out.WouldReject.Reason, out.WouldReject.Detail)
	}
	again := fmt.Sprintf("the next run %s (`candu-loader run %s`)", what, human.Quote(out.Source))
	switch {
	case !x.Migrated:
		return fmt.Sprintf("It waits: %s, and there is no schema yet: `candu-loader migrate %s` makes it, then %s.", out.Selection.Why, human.Quote(out.Source), again)
	case len(out.Running) > 0:
		return fmt.Sprintf("It waits: %s, and run %d, which is under way, or the next one %s.", out.Selection.Why, out.Running[0].ID, what)
	case out.Failing != nil:
		return fmt.Sprintf("It waits: %s, and runs fail since %s: %s. Once that is mended, %s.",
			out.Selection.Why, human.Time(out.Failing.Since), strings.TrimSuffix(human.Line(out.Failing.Error), "."), again)
	case out.Selection.NextSlot != nil:
		return fmt.Sprintf("It waits: %s, and the next run, planned for %s, %s.", out.Selection.Why, human.Exact(*out.Selection.NextSlot), what)
	}
	return fmt.Sprintf("It waits: %s, and %s.", out.Selection.Why, again)
}
