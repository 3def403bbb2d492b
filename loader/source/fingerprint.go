package source

import (
	"context"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/postgres"
)

// Prints are how fingerprints of rows are made.
type Prints struct {
	// View and Interaction are the spellings of the column kind.
	View, Interaction []string
	// Quick leaves out all but id, kind and time.
	Quick bool
}

// Fingerprint counts the rows of a day and kind, and sums up what [Prints.Sum] says of each.
type Fingerprint struct {
	// Day is in UTC, "" for rows whose occurred_at is no day that Segment takes.
	Day string
	// Kind is view, interaction, or "" for neither.
	Kind string
	Rows int64
	Sum  string
}

// onDay is an expression of rows whose occurred_at is a day that Segment takes, NULL
// for others.
func (t *Table) onDay(expression string) string {
	at := t.at(colOccurredAt)
	return "case when " + at + " >= '1970-01-01' and " + at + " < '10000-01-01' then " + expression + " end"
}

// dayExpression is the day of occurred_at, NULL where there is none.
func (t *Table) dayExpression() string {
	return t.onDay("(" + t.at(colOccurredAt) + " at time zone 'UTC')::date")
}

// notBlank is a condition that a text is not blank. The collation, for there are some that regular
// expressions refuse, and none should decide; E, for backslashes of any setting.
func notBlank(text string) string {
	return text + ` collate "C" ~ E'` + strings.ReplaceAll(event.NotBlank, `\`, `\\`) + "'"
}

// kindExpression is the row's kind by the configured spellings.
func (t *Table) kindExpression(c *conditions, p Prints) string {
	if !t.HasKind {
		return "case when " + notBlank(t.sanitized(colEventName)+"::text") + " then 'interaction' else 'view' end"
	}
	kind := t.sanitized(colKind) + "::text"
	return "case when " + kind + " = any (" + c.arg(p.View) + "::text[]) then 'view' when " +
		kind + " = any (" + c.arg(p.Interaction) + "::text[]) then 'interaction' else '' end"
}

func (t *Table) fingerprintSelect(r Range, p Prints) (string, []any) {
	c := t.within(r)
	kind := t.kindExpression(c, p)
	return "select coalesce(day::text, ''), kind, count(*), sum(part)::text\nfrom (\n  select day, kind, " + p.sumExpression() +
		" as part\n  from (\n    select " + t.dayExpression() + " as day, " + kind + " as kind, " + t.values() +
		"\n    from " + t.Relation() + c.where() + "\n  ) as e\n) as r\ngroup by day, kind", c.args
}

// Fingerprints computes, in the server, the fingerprints of a range. What is not in UTF-8 has others
// there: then the rows are read, and the fingerprints computed here. each gets those of a piece.
func (s *Source) Fingerprints(ctx context.Context, r Range, p Prints, each func([]Fingerprint)) error {
	if !s.table.Prints() {
		list, err := s.prints(ctx, r, p)
		if err == nil {
			each(list)
		}
		return err
	}
	span, err := s.span(ctx, r)
	if err != nil {
		return err
	}
	return postgres.InPieces(ctx, span, func(ctx context.Context, from, to *time.Time) error {
		piece := r
		if from != nil && (r.ExportedFrom == nil || r.ExportedFrom.Before(*from)) {
			piece.ExportedFrom = from
		}
		piece.ExportedBefore = to
		list, err := collectOnce(ctx, s, "computing fingerprints", pgx.RowToStructByPos[Fingerprint], func() (string, []any) {
			return s.table.fingerprintSelect(piece, p)
		})
		if err == nil {
			each(list)
		}
		return err
	})
}

// span is from when to when the rows of a range were exported, zero where no index finds them by that.
func (s *Source) span(ctx context.Context, r Range) (span postgres.Span, err error) {
	missing, err := s.missingIndex(ctx, colExportedAt)
	if err != nil || missing != "" {
		return span, err
	}
	sql, args := s.table.ordered(s.table.at(colExportedAt), s.table.after(&conditions{}, Cursor{}), colExportedAt, 1)
	first, err := collect(ctx, s, "looking for the first row", func(row pgx.CollectableRow) (at time.Time, err error) {
		err = row.Scan((*moment)(&at))
		return at, err
	}, sql, args...)
	if err != nil || len(first) == 0 {
		return span, err
	}
	span = postgres.Span{From: first[0], To: r.UpTo.At}
	for _, from := range []*time.Time{&r.After.At, r.ExportedFrom} {
		if from != nil && from.After(span.From) {
			span.From = *from
		}
	}
	if year := time.Unix(0, 0); span.From.Before(year) {
		span.From = year // The first piece has no beginning.
	}
	return span, nil
}

// beforePrints is for sums of groups of which the planner can't know how few there are: with less memory it
// sorts every row.
const beforePrints = "set local work_mem = '256MB'; set local jit = off; set local plan_cache_mode = force_custom_plan"

// collectOnce is collect of a statement that takes long and that is not repeated as it is if the server gives up on
// it for that.
func collectOnce[T any](ctx context.Context, s *Source, doing string, to pgx.RowToFunc[T], build func() (sql string, args []any)) (list []T, err error) {
	var tooSlow error
	begin := func(ctx context.Context, fn func(postgres.DB) error) error {
		err := s.reader.InTx(ctx, beforePrints, fn)
		if tooSlow = nil; postgres.TooSlow(err) {
			tooSlow, err = s.explain(err, doing), nil
		}
		return err
	}
	err = s.readBy(ctx, doing, begin, func(ctx context.Context, db postgres.DB) (err error) {
		sql, args := build()
		rows, _ := db.Query(ctx, sql, args...) // CollectRows returns its error.
		list, err = pgx.CollectRows(rows, to)
		return err
	})
	if err == nil {
		err = tooSlow
	}
	return list, err
}

// Row is what is compared of a row.
type Row struct {
	ID   string
	Kind string
	// Sum is that of [Prints.Sum].
	Sum int64
}

func (t *Table) dayRowsSelect(r Range, p Prints, after *string, limit int) (string, []any) {
	c := t.within(r)
	id := t.sanitized(colID) + "::text"
	if after != nil {
		c.add(id + " collate \"C\" > " + c.arg(*after))
	}
	kind := t.kindExpression(c, p)
	return "select id, kind, " + p.sumExpression() + "\nfrom (\n  select " + kind + " as kind, " + t.values() +
		"\n  from " + t.Relation() + c.where() + "\n) as e\norder by id collate \"C\"\nlimit " + c.arg(limit), c.args
}

// DayRows reads a page of the rows of one day, in the order of the bytes of their
// ids, after the one given.
func (s *Source) DayRows(ctx context.Context, r Range, p Prints, after *string, limit int) ([]Row, error) {
	sql, args := s.table.dayRowsSelect(r, p, after, limit)
	return collect(ctx, s, "reading a day", pgx.RowToStructByPos[Row], sql, args...)
}

// Prints reports whether the server can make fingerprints: of texts in UTF-8 alone. Where it
// can't, [Source.DayPart] serves instead of [Source.DayRows].
func (t *Table) Prints() bool { return t.encoding == postgres.UTF8 }

// each passes the rows of a range in some order.
func (s *Source) each(ctx context.Context, r Range, p Prints, do func(row *Row, at time.Time)) error {
	reader := &RangeReader{source: s, rng: r}
	for {
		page, err := reader.Next(ctx)
		if err != nil || page == nil {
			return err
		}
		for i := range page.Rows {
			in := &page.Rows[i]
			kind := s.table.KindOf(in, p)
			do(&Row{ID: in.ID, Kind: kind, Sum: p.Sum(kind, in)}, in.OccurredAt)
		}
	}
}

// KindOf is the kind of a row as fingerprints have it.
func (t *Table) KindOf(in *event.Interaction, p Prints) string {
	switch {
	case !t.HasKind && event.Present(in.EventName) == "", t.HasKind && slices.Contains(p.View, in.Kind):
		return "view"
	case !t.HasKind, slices.Contains(p.Interaction, in.Kind):
		return "interaction"
	}
	return ""
}

// prints reads the rows of a range and computes their fingerprints.
func (s *Source) prints(ctx context.Context, r Range, p Prints) ([]Fingerprint, error) {
	type of struct{ day, kind string }
	sums, counts := map[of]*big.Int{}, map[of]int64{}
	err := s.each(ctx, r, p, func(row *Row, occurred time.Time) {
		at := of{day: DayOf(occurred), kind: row.Kind}
		if sums[at] == nil {
			sums[at] = new(big.Int)
		}
		sums[at].Add(sums[at], big.NewInt(row.Sum))
		counts[at]++
	})
	list := make([]Fingerprint, 0, len(sums))
	for at, sum := range sums {
		list = append(list, Fingerprint{Day: at.day, Kind: at.kind, Rows: counts[at], Sum: sum.String()})
	}
	return list, err
}

// DayOf is the day of a time in UTC, "" if it is none that Segment takes.
func DayOf(at time.Time) string {
	if year := at.Year(); year < 1970 || year >= 10_000 {
		return ""
	}
	return at.UTC().Format(time.DateOnly)
}

// DayPart reads those rows of a day whose ids are in a part, in the order of the bytes of their ids.
func (s *Source) DayPart(ctx context.Context, r Range, p Prints, in func(id string) bool) ([]Row, error) {
	var rows []Row
	err := s.each(ctx, r, p, func(row *Row, _ time.Time) {
		if in(row.ID) {
			rows = append(rows, *row)
		}
	})
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.ID, b.ID) })
	return rows, err
}
