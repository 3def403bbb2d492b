package preflight

import (
	"context"
	"errors"
	"time"

	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/source"
)

func (c *checker) export(ctx context.Context) {
	export, err := c.Export(ctx)
	if err != nil {
		c.trouble("export_unusable", err)
		return
	}
	defer export.Close()
	c.exportClock, _ = export.Clock()
	if err := c.Source.StartAt.Check(c.exportClock); err != nil {
		c.trouble("start_at_ahead", err)
	}
	table := export.Table()
	c.add(LevelInfo, "export_readable", "", "table %s can be read, id is %s", table.Relation(), table.IDType())
	c.zones(ctx, export)
	if !table.HasKind {
		c.add(LevelInfo, "kinds_by_event_name", "", "kinds: by_event_name: rows without an event name are views, all others interactions")
	}
	if server, err := export.Server(ctx); err != nil {
		c.trouble("export_unusable", err)
	} else {
		c.server("export", server, c.Source.Interactions.URL.Reveal(), export.Pooled())
	}
	c.order(ctx, export)
	c.lateCommits(ctx, export)
	c.ids(ctx, export)
	c.sample(ctx, export)
}

// zones warns of times without a zone, which mean what nobody can see in them.
func (c *checker) zones(ctx context.Context, export *source.Source) {
	findings := export.Table().Findings()
	if len(findings) == 0 {
		return
	}
	zones, err := export.Zones(ctx)
	if err != nil {
		c.trouble("timezone_unknown", err)
		return
	}
	for _, f := range findings {
		c.add(LevelWarning, f.Code, f.Hint, "%s; %s", f.Text, zones)
	}
}

// order looks for the index that pages are read with, and for rows that no page
// will hold.
func (c *checker) order(ctx context.Context, export *source.Source) {
	statement, err := export.MissingIndex(ctx)
	if err != nil {
		c.trouble("index_unknown", err)
		return
	}
	rows := export.Estimate(ctx, source.Cursor{})
	table, indexed := export.Table(), statement == ""
	switch {
	case indexed:
		c.add(LevelInfo, "index_used", "", "pages are read by an index on (exported_at, id)")
	case table.Elsewhere() != "":
		c.add(LevelWarning, "index_missing", statement,
			"%s is a %s; each page needs an index on (exported_at, id) behind it", table.Relation(), table.Elsewhere())
	case rows > manyRows:
		c.add(LevelError, "index_missing", statement, "no index on (exported_at, id): each page would sort about %d rows", rows)
	default:
		c.add(LevelWarning, "index_missing", statement, "no index on (exported_at, id): each page sorts the table")
	}
	if rows > fewRows {
		// On a small table a scan is the right plan.
		switch sorts, err := export.PageSorts(ctx); {
		case err != nil:
			c.trouble("plan_unknown", err)
		case sorts && indexed:
			c.add(LevelWarning, "plan_sorts", "ANALYZE "+table.Relation()+";", "the planner does not use the index to read a page: its statistics may be out of date")
		case sorts:
			c.add(LevelWarning, "plan_sorts", "", "the planner reads each page by scanning or sorting, in a table of about %d rows", rows)
		}
	}
	unreadable, err := export.Unreadable(ctx)
	switch {
	case err != nil:
		c.trouble("exported_at_unknown", err)
	case unreadable > 0:
		c.add(LevelError, "exported_at_null", table.NullStatement(), "without exported_at, and so never read: %s", human.Count(unreadable, "row"))
	}
	if future, err := export.Future(ctx); err == nil && future > 0 {
		c.add(LevelWarning, "exported_at_future", "Stamp rows with now() of the export's server.",
			"with an exported_at in the future, and so read again by each run until that time has come: %s", human.Count(future, "row"))
	}
}

// lateCommits tells what catches rows that commit late.
func (c *checker) lateCommits(ctx context.Context, export *source.Source) {
	point, err := export.SafePoint(ctx)
	if err != nil {
		c.trouble("safe_point_unknown", err)
		return
	}
	c.ahead(ctx, point)
	if point.Prepared > 0 {
		c.add(LevelWarning, "prepared_transactions", point.EndPrepared(),
			"the watermark stays where it is while prepared transactions are open: %d", point.Prepared)
	}
	if point.Visible {
		c.add(LevelInfo, "safe_point_visible", "",
			"open transactions are visible: rows that commit late are waited for, if exported_at is the now() of the transaction that writes them; the export is settled until %s",
			point.At.UTC().Format(time.RFC3339))
		if point.LongHeld() {
			c.add(LevelWarning, "safe_point_held", point.Oldest.End(),
				"the watermark can't pass the beginning of a transaction in the export's database: %s", point.Oldest)
		}
		return
	}
	hint := "Keep lookback longer than it ever takes from a row's exported_at until the row can be read here. Let verify --repair run each night."
	if point.Reason == source.NoStatsRole {
		hint = export.StatsGrant(ctx)
	}
	level := LevelWarning
	if c.Source.Lookback == 0 {
		level = LevelError
	}
	c.add(level, "safe_point_hidden", hint, "%s: rows that commit late are found only if they commit within lookback (%s)", point.Reason, human.Duration(c.Source.Lookback))
}

// ahead tells of a watermark that lies in the future: the export's clock ran ahead, and was put right.
// Trouble with the warehouse is told elsewhere.
func (c *checker) ahead(ctx context.Context, point source.SafePoint) {
	book, err := c.Ledger(ctx)
	if err != nil {
		return
	}
	state, err := book.State(ctx)
	if err == nil && state.WatermarkAt != nil && state.WatermarkAt.After(point.Clock) {
		c.add(LevelWarning, "watermark_ahead", "candu-loader run "+c.Source.Nickname+", which puts it back. Keep the clock of the export's server right.",
			"the watermark lies %s ahead of the export's clock, which was put back: rows that come now lie below it", human.Duration(state.WatermarkAt.Sub(point.Clock)))
	}
}

func (c *checker) ids(ctx context.Context, export *source.Source) {
	switch n, err := export.WithoutID(ctx, source.Cursor{}); {
	case errors.Is(err, source.ErrTooSlow):
		c.add(LevelWarning, "id_null_not_checked", "", "whether there are rows without id can't be told in time: such rows are never read")
	case err != nil:
		c.trouble("id_unknown", err)
	case n > 0:
		c.add(LevelError, "id_null", "Give each of them an id that stays, or leave them out of the view.", "without id, and so never read: %s", human.Count(n, "row"))
	}
	if export.Table().UniqueID {
		c.add(LevelInfo, "id_unique", "", "an index keeps ids unique")
		return
	}
	switch err := export.CheckUnique(ctx, source.Cursor{}); {
	case err == nil && export.Table().KeyBehind():
		c.add(LevelInfo, "id_not_guaranteed", "",
			"ids are unique now, and an index keeps them unique behind the view; whether the view gives a row twice can't be told from it, so each run checks its rows")
		return
	case errors.Is(err, source.ErrTooSlow):
		c.add(LevelWarning, "id_not_checked", export.Table().UniqueStatement(),
			"no index keeps ids unique, and whether they are can't be told in time: a run notices an id that comes twice within a page alone")
		return
	case err != nil && !errors.Is(err, source.ErrTwice):
		c.trouble("id_unknown", err)
		return
	case err != nil:
		c.trouble("id_not_unique", err)
		return
	}
	c.add(LevelWarning, "id_not_guaranteed", export.Table().UniqueStatement(),
		"ids are unique now, but no index keeps them unique; each run checks its rows, which takes time")
}
