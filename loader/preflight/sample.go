package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

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

// sample judges the newest rows: what is wrong in the config shows in them.
func (c *checker) sample(ctx context.Context, export *source.Source) {
	labels := c.labels(ctx, export)
	page, err := export.Newest(ctx, sampleRows)
	if err != nil {
		c.trouble("rows_unknown", err)
		return
	}
	known := c.known(ctx, page)
	rules := c.Rules(export.Table())
	var all, fresh event.Tally
	var kinds []string
	for i := range page.Rows {
		row := &page.Rows[i]
		_, reject := rules.Convert(row)
		if reject == nil {
			continue
		}
		all.Add(reject.Reason, row.ID, reject.Detail)
		if known[row.ID].Reason != string(reject.Reason) {
			fresh.Add(reject.Reason, row.ID, reject.Detail)
		}
		if reject.Reason == event.UnknownKind && event.Present(row.Kind) != "" && !slices.Contains(kinds, row.Kind) {
			kinds = append(kinds, row.Kind)
		}
	}
	if len(kinds) > 0 {
		text := fmt.Sprintf("kinds of the newest %s that stand for neither view nor interaction: %s", human.Count(int64(len(page.Rows)), "row"), quoted(kinds))
		if len(labels) > 0 {
			text += "; the enum has " + quoted(labels)
		}
		c.add(LevelWarning, "kinds_unknown", "In the config:  kinds: {view: [...], interaction: [...]}  with each of them.", "%s", text)
	}
	c.rejected(int64(len(page.Rows)), &all, &fresh)
}

// rejected tells which of the newest rows would be rejected, and whether a run would stop.
func (c *checker) rejected(rows int64, all, fresh *event.Tally) {
	before := all.Rows() - fresh.Rows()
	text := fmt.Sprintf("of the newest %s %d would be rejected: %s", human.Count(rows, "row"), all.Rows(), all)
	if before > 0 {
		text += fmt.Sprintf("; in loader_rejects already: %d", before)
	}
	list := "docs/rejects.md has each reason and its remedy."
	switch {
	case rows == 0:
	case all.Rows() == 0:
		c.add(LevelInfo, "rows_fit", "", "the newest %s can be sent", human.Count(rows, "row"))
	case c.Source.MaxRejected.Exceeded(fresh.Rows(), rows-before):
		c.add(LevelError, "rows_rejected", list+" To let them pass once:  candu-loader run "+human.Quote(c.Source.Nickname)+" --max-rejected 100%",
			"%s; that is more than max_rejected (%s), so a run would stop", text, c.Source.MaxRejected)
	default:
		c.add(LevelWarning, "rows_rejected", list, "%s", text)
	}
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
		c.add(LevelWarning, "kind_labels", "In the config:  kinds: {view: [...], interaction: [...]}", "kind is an enum; %s", strings.Join(parts, "; "))
	}
	return labels
}

// known returns those of the rows that were rejected before; where the schema can't be asked,
// which is another finding's business, none was.
func (c *checker) known(ctx context.Context, page *source.Page) map[string]ledger.KnownReject {
	book, err := c.Ledger(ctx)
	if err != nil {
		return nil
	}
	ids := make([]string, len(page.Rows))
	for i := range page.Rows {
		ids[i] = page.Rows[i].ID
	}
	known, err := book.KnownRejects(ctx, ids)
	if err != nil {
		return nil
	}
	return known
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
