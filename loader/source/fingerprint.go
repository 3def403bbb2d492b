package source

import (
	"context"
	"crypto/md5" //nolint:gosec // A fingerprint, as Postgres computes it; nobody attacks it.
	"encoding/binary"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/postgres"
)

// Kinds are the spellings of the column kind, for fingerprints.
type Kinds struct{ View, Interaction []string }

// Fingerprint counts the rows of a day and kind. The sum is over half of the MD5
// of each row's id and time, whatever their order.
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

// microsExpression is occurred_at in microseconds since 1970, as text.
func (t *Table) microsExpression() string {
	return t.onDay("(date_part('epoch', " + t.at(colOccurredAt) + ") * 1000000)::bigint::text")
}

// dayExpression is the day of occurred_at, NULL where there is none.
func (t *Table) dayExpression() string {
	return t.onDay("(" + t.at(colOccurredAt) + " at time zone 'UTC')::date")
}

// kindExpression is the row's kind by the configured spellings.
func (t *Table) kindExpression(c *conditions, kinds Kinds) string {
	if !t.HasKind {
		// The collation, for there are some that regular expressions refuse; E, for backslashes of any setting.
		notBlank := "E'" + strings.ReplaceAll(event.NotBlank, `\`, `\\`) + "'"
		return "case when " + t.sanitized(colEventName) + "::text collate \"C\" ~ " + notBlank + " then 'interaction' else 'view' end"
	}
	kind := t.sanitized(colKind) + "::text"
	return "case when " + kind + " = any (" + c.arg(kinds.View) + "::text[]) then 'view' when " +
		kind + " = any (" + c.arg(kinds.Interaction) + "::text[]) then 'interaction' else '' end"
}

func (t *Table) fingerprintSelect(r Range, kinds Kinds) (string, []any) {
	c := t.within(r)
	kind := t.kindExpression(c, kinds)
	return "select coalesce(day::text, ''), kind, count(*), sum(part)::text\nfrom (\n  select " + t.dayExpression() + " as day, " + kind + " as kind,\n" +
		"    ('x' || left(md5(" + t.sanitized(colID) + "::text || '@' || coalesce(" + t.microsExpression() + ", '')), 16))::bit(64)::bigint as part\n" +
		"  from " + t.Relation() + c.where() +
		"\n) as r\ngroup by day, kind", c.args
}

// Fingerprints computes, in the server, the fingerprints of a range. What is not in UTF-8 has others
// there: then the rows are read, and the fingerprints computed here.
func (s *Source) Fingerprints(ctx context.Context, r Range, kinds Kinds) ([]Fingerprint, error) {
	if !s.table.Prints() {
		return s.prints(ctx, r, kinds)
	}
	sql, args := s.table.fingerprintSelect(r, kinds)
	return collect(ctx, s, "computing fingerprints", pgx.RowToStructByPos[Fingerprint], sql, args...)
}

// Row is what is compared of a row.
type Row struct {
	ID   string
	Kind string
	// At is occurred_at.
	At time.Time
}

func (t *Table) dayRowsSelect(r Range, kinds Kinds, after *string, limit int) (string, []any) {
	c := t.within(r)
	id := t.sanitized(colID) + "::text"
	if after != nil {
		c.add(id + " collate \"C\" > " + c.arg(*after))
	}
	kind := t.kindExpression(c, kinds)
	return "select " + id + ", " + kind + ", " + t.at(colOccurredAt) + "\nfrom " + t.Relation() + c.where() +
		"\norder by " + id + " collate \"C\"\nlimit " + c.arg(limit), c.args
}

// DayRows reads a page of the rows of one day, in the order of the bytes of their
// ids, after the one given; nil stands before every id.
func (s *Source) DayRows(ctx context.Context, r Range, kinds Kinds, after *string, limit int) ([]Row, error) {
	sql, args := s.table.dayRowsSelect(r, kinds, after, limit)
	return collect(ctx, s, "reading a day", func(row pgx.CollectableRow) (r Row, err error) {
		var at pgtype.Timestamptz
		err = row.Scan(&r.ID, &r.Kind, &at)
		r.At = at.Time // NULL and the infinities are nothing to compare with.
		return r, err
	}, sql, args...)
}

// Prints reports whether the server can make fingerprints: of texts in UTF-8 alone. Where it
// can't, [Source.DayPart] serves instead of [Source.DayRows].
func (t *Table) Prints() bool { return t.encoding == postgres.UTF8 }

// each passes the rows of a range in some order.
func (s *Source) each(ctx context.Context, r Range, kinds Kinds, do func(*Row)) error {
	reader := &RangeReader{source: s, rng: r}
	for {
		page, err := reader.Next(ctx)
		if err != nil || page == nil {
			return err
		}
		for i := range page.Rows {
			in := &page.Rows[i]
			do(&Row{ID: in.ID, Kind: s.table.kindOf(in, kinds), At: in.OccurredAt})
		}
	}
}

// kindOf is the kind of a row as kindExpression has it.
func (t *Table) kindOf(in *event.Interaction, kinds Kinds) string {
	switch {
	case !t.HasKind && event.Present(in.EventName) == "", slices.Contains(kinds.View, in.Kind):
		return "view"
	case !t.HasKind, slices.Contains(kinds.Interaction, in.Kind):
		return "interaction"
	}
	return ""
}

// prints reads the rows of a range and computes their fingerprints.
func (s *Source) prints(ctx context.Context, r Range, kinds Kinds) ([]Fingerprint, error) {
	type of struct{ day, kind string }
	sums, counts := map[of]*big.Int{}, map[of]int64{}
	err := s.each(ctx, r, kinds, func(row *Row) {
		at, micros := of{kind: row.Kind}, ""
		if year := row.At.Year(); year >= 1970 && year < 10_000 {
			at.day, micros = row.At.Format(time.DateOnly), strconv.FormatInt(row.At.UnixMicro(), 10)
		}
		hash := md5.Sum([]byte(row.ID + "@" + micros)) //nolint:gosec // A fingerprint, as Postgres computes it.
		if sums[at] == nil {
			sums[at] = new(big.Int)
		}
		sums[at].Add(sums[at], big.NewInt(int64(binary.BigEndian.Uint64(hash[:8]))))
		counts[at]++
	})
	list := make([]Fingerprint, 0, len(sums))
	for at, sum := range sums {
		list = append(list, Fingerprint{Day: at.day, Kind: at.kind, Rows: counts[at], Sum: sum.String()})
	}
	return list, err
}

// DayPart reads those rows of a day whose ids are in a part, in the order of the bytes of their ids.
func (s *Source) DayPart(ctx context.Context, r Range, kinds Kinds, in func(id string) bool) ([]Row, error) {
	var rows []Row
	err := s.each(ctx, r, kinds, func(row *Row) {
		if in(row.ID) {
			rows = append(rows, *row)
		}
	})
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.ID, b.ID) })
	return rows, err
}

func (t *Table) settledSelect(r Range, ids []string) (string, []any) {
	c := t.within(Range{ExportedFrom: r.ExportedFrom, After: r.After, UpTo: r.UpTo})
	c.add(t.sanitized(colID) + " = any (" + c.arg(ids) + "::text[]::" + t.idType() + "[])")
	return "select " + t.sanitized(colID) + "::text\nfrom " + t.Relation() + c.where(), c.args
}

// Settled returns those of the ids, which must be of the table's type, whose rows are
// between start_at, or what a copy inherited, and the watermark of a range, whatever their occurred_at.
func (s *Source) Settled(ctx context.Context, r Range, ids []string) (map[string]bool, error) {
	settled := map[string]bool{}
	if len(ids) == 0 {
		return settled, nil
	}
	sql, args := s.table.settledSelect(r, ids)
	found, err := collect(ctx, s, "comparing rows with the watermark", pgx.RowTo[string], sql, args...)
	for _, id := range found {
		settled[id] = true
	}
	return settled, err
}
