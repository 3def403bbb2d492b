package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

const (
	// sampleRows is how many of the newest rows are judged as a run would judge them.
	sampleRows = 1_000
	// namedKinds is how many kinds a finding names.
	namedKinds = 10
)

// sample judges the newest rows: what is wrong in the config shows in them. A run judges those alone
// that are new to it.
func (c *checker) sample(ctx context.Context, export *source.Source) {
	labels := c.labels(ctx, export)
	page, err := export.Newest(ctx, sampleRows)
	if err != nil {
		c.trouble("rows_unknown", err)
		return
	}
	c.steady(ctx, page, export)
	j := c.judge(ctx, page, export)
	var kinds []string
	for i := range page.Rows {
		row := &page.Rows[i]
		reject := j.add(row)
		if reject != nil && reject.Reason == event.UnknownKind && event.Present(row.Kind) != "" && !slices.Contains(kinds, row.Kind) {
			kinds = append(kinds, row.Kind)
		}
	}
	if len(kinds) > 0 {
		text := fmt.Sprintf("kinds of the newest %s that stand for neither view nor interaction: %s", human.Count(int64(len(page.Rows)), "row"), quoted(kinds))
		if len(labels) > 0 {
			text += "; the enum has " + quoted(labels)
		}
		c.add(LevelWarning, "kinds_unknown", c.Source.Interactions.Kinds.Hint(quoted(kinds)), "%s", text)
	}
	c.rejected(j, int64(len(page.Rows)), page.Last)
}

// steady looks whether rows stay where they are.
func (c *checker) steady(ctx context.Context, page *source.Page, export *source.Source) {
	switch err := export.NewestSteady(ctx, page); {
	case errors.Is(err, source.ErrIDMoves):
		c.trouble("id_moves", err)
	case errors.Is(err, source.ErrCursorMoves):
		c.trouble("exported_at_moves", err)
	case errors.Is(err, source.ErrTimeMoves):
		c.trouble("occurred_at_moves", err)
	case err != nil:
		c.trouble("rows_unknown", err)
	}
	computed, err := export.Computed(ctx)
	if err != nil {
		c.trouble("rows_unknown", err)
	}
	if len(computed) > 0 {
		c.add(LevelWarning, "id_computed", "Take the key of the table behind the view as id.",
			"the view computes with %s: if the id is made of it, it may become another one, and the row would be sent again as another event; whether it is can't be told from here",
			strings.Join(computed, ", "))
	}
}

// judged counts the newest rows by what a run would make of them.
type judged struct {
	rules *event.Rules
	table *source.Table
	// namespaces are the schema's, and those of the schemas that it is a copy of.
	namespaces []uuid.UUID
	// from is where a run begins to read; unsure is true if the ledger could not be asked.
	from      time.Time
	unsure    bool
	known     map[string]ledger.KnownReject
	delivered map[string]struct{}

	// fresh are new to a run; rejects are those of them that would be rejected.
	fresh   int64
	rejects event.Tally
	// unfit are those of the others that would be rejected if they came today: rejected are in
	// loader_rejects, mirrored were delivered before they became unfit, passed lie before the place where a run
	// begins to read.
	unfit                      event.Tally
	rejected, mirrored, passed int64
	// lastFresh is true if the row that was added last is new.
	lastFresh bool
}

// judge asks the ledger about the rows. Where it can't be asked, which is another finding's
// business, all seem new.
func (c *checker) judge(ctx context.Context, page *source.Page, export *source.Source) *judged {
	var state ledger.State
	book, err := c.Ledger(ctx)
	if err == nil {
		state, err = book.State(ctx)
	}
	j := &judged{rules: c.Rules(export.Table(), state), table: export.Table(), from: c.Source.StartAt.At}
	switch {
	case state.StartAt != nil || state.WatermarkAt != nil:
		j.from = c.ReadsFrom(export.Table(), state).At
	case c.Source.StartAt.Now:
		j.from, _ = export.Clock()
	}
	if err != nil {
		j.unsure = !errors.Is(err, ledger.ErrAbsent)
		return j
	}
	j.namespaces = append([]uuid.UUID{state.MessageNamespace}, state.Originals...)
	ids, messages := make([]string, len(page.Rows)), make([]string, 0, len(page.Rows))
	for i := range page.Rows {
		ids[i] = page.Rows[i].ID
		messages = append(messages, event.MessageIDs(j.namespaces, &page.Rows[i])...)
	}
	var err1, err2 error
	j.known, err1 = book.KnownRejects(ctx, ids)
	j.delivered, err2 = book.Delivered(ctx, messages)
	j.unsure = err1 != nil || err2 != nil
	return j
}

// add judges a row, and returns why it would be rejected, nil if it would not.
func (j *judged) add(row *event.Interaction) *event.Reject {
	_, reject := j.rules.Convert(row)
	if reject != nil && reject.Reason == event.Forgotten {
		// Nothing is wrong with it.
		j.lastFresh = false
		return nil
	}
	before, known := j.known[row.ID]
	// As the pipeline classifies: a row that is rejected for another reason than before is new.
	known = known && (reject == nil && event.Reason(before.Reason).Stays() || reject != nil && before.Reason == string(reject.Reason))
	delivered := slices.ContainsFunc(event.MessageIDs(j.namespaces, row), func(id string) bool { _, in := j.delivered[id]; return in })
	passed := j.table.Earlier(row.ExportedAt, j.from)
	j.lastFresh = !known && !delivered && !passed
	if j.lastFresh {
		j.fresh++
	}
	switch {
	case reject == nil:
		return nil
	case j.lastFresh:
		j.rejects.Add(reject.Reason, row.ID, reject.Detail)
		return reject
	case delivered:
		j.mirrored++
	case known:
		j.rejected++
	default:
		j.passed++
	}
	j.unfit.Add(reject.Reason, row.ID, reject.Detail)
	return reject
}

// rejected tells which of the newest rows would be rejected, and whether a run would stop. all is true
// if the table has no others.
func (c *checker) rejected(j *judged, rows int64, all bool) {
	list := "docs/rejects.md has each reason and its remedy."
	switch {
	case rows == 0:
		return
	case j.rejects.Rows()+j.unfit.Rows() == 0:
		c.add(LevelInfo, "rows_fit", "", "the newest %s can be sent", human.Count(rows, "row"))
		return
	}
	text := fmt.Sprintf("of the newest %s %s new to a run", human.Count(rows, "row"), are(j.fresh))
	if j.rejects.Rows() > 0 {
		text += fmt.Sprintf(", and %d of these would be rejected: %s", j.rejects.Rows(), &j.rejects)
	}
	if j.unfit.Rows() > 0 {
		var where []string
		for _, w := range []struct {
			rows int64
			what string
		}{
			{j.rejected, "in loader_rejects already: %d"}, {j.mirrored, "delivered before they became unfit: %d"}, {j.passed, "exported before the place where a run begins to read: %d"},
		} {
			if w.rows > 0 {
				where = append(where, fmt.Sprintf(w.what, w.rows))
			}
		}
		text += fmt.Sprintf("; unfit among the others, which no run judges: %s (%s)", &j.unfit, strings.Join(where, ", "))
	}
	switch {
	case !c.Source.MaxRejected.Exceeded(j.rejects.Rows(), j.fresh):
		c.add(LevelWarning, "rows_rejected", list, "%s", text)
	default:
		stops := "would stop"
		if j.unsure || j.lastFresh && !all {
			stops = "may stop" // It depends on the rows before these, which are new as well.
		}
		c.add(LevelError, "rows_rejected", list+" To let them pass once:  candu-loader run "+human.Quote(c.Source.Nickname)+" --max-rejected 100%",
			"%s; that is more than max_rejected (%s), so a run %s", text, c.Source.MaxRejected, stops)
	}
}

// are says how many are so.
func are(n int64) string {
	if n == 0 {
		return "none is"
	}
	return human.Number(n) + " " + human.Noun(n, "is", "are")
}

// labels returns the labels of the column kind if it is an enum, and tells which of them stand
// for nothing, and which spellings are none of them.
func (c *checker) labels(ctx context.Context, export *source.Source) []string {
	labels, err := export.KindLabels(ctx)
	if err != nil {
		c.trouble("kinds_unreadable", err)
	}
	if len(labels) == 0 {
		return nil
	}
	spellings := slices.Concat(c.Source.Interactions.Kinds.View, c.Source.Interactions.Kinds.Interaction)
	without := func(all, these []string) (rest []string) {
		return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(these, s) })
	}
	var parts []string
	if rest := without(labels, spellings); len(rest) > 0 {
		parts = append(parts, "labels that stand for neither view nor interaction: "+quoted(rest))
	}
	if rest := without(spellings, labels); len(rest) > 0 {
		parts = append(parts, "spellings in the config that are no label: "+quoted(rest))
	}
	if len(parts) > 0 {
		c.add(LevelWarning, "kind_labels", c.Source.Interactions.Kinds.Hint(quoted(without(labels, spellings))), "kind is an enum; %s", strings.Join(parts, "; "))
	}
	return labels
}

// quoted lists values, the first ones of many.
func quoted(values []string) string {
	var list []string
	for _, value := range values[:min(namedKinds, len(values))] {
		list = append(list, fmt.Sprintf("%q", human.Cut(value, 80)))
	}
	if more := len(values) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}
