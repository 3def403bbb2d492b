package source

import (
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// This file builds the SELECTs whose table and columns come from the
// configuration; all other SQL stands in files. Names are quoted by
// pgx.Identifier, values are arguments.

// pageSelect returns the SELECT of one page in the order of (exported_at, id).
//
//   - from the beginning: $1 = limit
//   - from a moment (Cursor without ID): $1 = moment, $2 = limit
//   - after a row: $1 = moment, $2 = id, $3 = limit
//
// The comparison is of whole rows and typed, so ties are safe and Postgres can
// use an index on (exported_at, id).
func (t *Table) pageSelect(from Cursor) string {
	where, args := t.after(from)
	return "select " + t.columnList(numColumns) + "\nfrom " + t.Relation() + where +
		"\norder by " + t.sanitized(colExportedAt) + ", " + t.sanitized(colID) + "\nlimit " + placeholder(len(args)+1)
}

// keysSelect returns the SELECT of the keys, in the order of pageSelect, of the rows that
// were exported before a moment, and its arguments but the limit.
func (t *Table) keysSelect(from Cursor, before time.Time) (string, []any) {
	where, args := t.after(from)
	args = append(args, At(before).timestamp(t.withZone()))
	return "select " + t.columnList(numKeys) + "\nfrom " + t.Relation() + where +
		"\n  and " + t.sanitized(colExportedAt) + " < " + placeholder(len(args)) + "::" + t.timeType() +
		"\norder by " + t.sanitized(colExportedAt) + ", " + t.sanitized(colID) + "\nlimit " + placeholder(len(args)+1), args
}

// idSelect returns the SELECT of the rows whose ids are in $1. The list is of text,
// for which no driver needs to know the type of the id.
func (t *Table) idSelect() string {
	return "select " + t.columnList(numColumns) + "\nfrom " + t.Relation() +
		"\nwhere " + t.sanitized(colID) + " = any ($1::text[]::" + t.idType() + "[])"
}

// after returns the condition for the rows after a cursor, and its arguments.
func (t *Table) after(from Cursor) (string, []any) {
	at, id := t.sanitized(colExportedAt), t.sanitized(colID)
	switch {
	case from.IsZero():
		// A NULL would come last in the order and could not be a cursor.
		return "\nwhere " + at + " is not null", nil
	case from.ID == nil:
		return "\nwhere " + at + " >= $1::" + t.timeType(), []any{from.timestamp(t.withZone())}
	default:
		return "\nwhere (" + at + ", " + id + ") > ($1::" + t.timeType() + ", $2::" + t.idType() + ")",
			[]any{from.timestamp(t.withZone()), *from.ID}
	}
}

// countSelect counts the rows after a cursor, up to the limit that is its last
// argument.
func (t *Table) countSelect(from Cursor) (string, []any) {
	where, args := t.after(from)
	return "select count(*) from (select from " + t.Relation() + where + "\nlimit " + placeholder(len(args)+1) + ") as pending", args
}

func placeholder(n int) string { return "$" + strconv.Itoa(n) }

// nullsSelect counts the rows that no page will ever hold, up to $1.
func (t *Table) nullsSelect() string {
	return "select count(*) from (select from " + t.Relation() +
		"\nwhere " + t.sanitized(colExportedAt) + " is null limit $1) as unreadable"
}

// futureSelect counts rows ahead of the server's clock, up to $1.
func (t *Table) futureSelect() string {
	return "select count(*) from (select from " + t.Relation() +
		"\nwhere " + t.sanitized(colExportedAt) + " > clock_timestamp() limit $1) as future"
}

// estimateSelect asks the planner how many rows there are from $1 on.
func (t *Table) estimateSelect(from Cursor) (string, []any) {
	from.ID = nil // The planner can't estimate comparisons of rows well.
	where, args := t.after(from)
	return "explain (format json) select from " + t.Relation() + where, args
}

// duplicateSelect finds an id that stands twice among the rows from $1 on, for
// exports whose ids no index keeps unique.
func (t *Table) duplicateSelect(from Cursor) (string, []any) {
	from.ID = nil
	where, args := t.after(from)
	id := t.sanitized(colID)
	return "select " + id + "::text\nfrom " + t.Relation() + where +
		"\ngroup by " + id + "\nhaving count(*) > 1\norder by 1\nlimit 1", args
}

// columnList names the first n canonical columns in their order. What is not read in
// its own binary form is read as text; a missing kind is NULL.
func (t *Table) columnList(n int) string {
	list := make([]string, n)
	for i := range list {
		switch {
		case !t.Columns[i].present:
			list[i] = "null::text"
		case t.Columns[i].native:
			list[i] = t.sanitized(i)
		default:
			list[i] = t.sanitized(i) + "::text"
		}
	}
	return strings.Join(list, ", ")
}

func (t *Table) sanitized(column int) string {
	return pgx.Identifier{t.Columns[column].Name}.Sanitize()
}

func (t *Table) timeType() string {
	if t.withZone() {
		return "timestamptz"
	}
	return "timestamp"
}

func (t *Table) idType() string { return typeName(t.Columns[colID].oid) }

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }
