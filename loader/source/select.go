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

// conditions collects the WHERE of a statement and its arguments.
type conditions struct {
	texts []string
	args  []any
}

// arg adds an argument and returns its placeholder.
func (c *conditions) arg(value any) string {
	c.args = append(c.args, value)
	return "$" + strconv.Itoa(len(c.args))
}

func (c *conditions) add(text string) { c.texts = append(c.texts, text) }

func (c *conditions) where() string { return "\nwhere " + strings.Join(c.texts, "\n  and ") }

// place compares a row's place in the order of a time column and id with a cursor. The
// comparison is of whole rows and typed, so ties are safe and Postgres can use an index on
// both.
func (t *Table) place(c *conditions, column int, operator string, cursor Cursor) {
	c.add("(" + t.sanitized(column) + ", " + t.sanitized(colID) + ") " + operator + " (" +
		t.timeArg(c, column, cursor.At) + ", " + t.idArg(c, *cursor.ID) + ")")
}

// idArg adds an id as an argument.
func (t *Table) idArg(c *conditions, id string) string {
	if raw, ok := t.ofHex(id); ok {
		return "convert_from(" + c.arg(raw) + "::bytea, 'SQL_ASCII')"
	}
	return c.arg(id) + "::" + t.idType()
}

// after adds the condition for the rows after a cursor.
func (t *Table) after(c *conditions, from Cursor) *conditions {
	switch {
	case from.IsZero():
		// A NULL would come last in the order and could not be a cursor.
		c.add(t.sanitized(colExportedAt) + " is not null")
	case from.ID == nil:
		t.moment(c, colExportedAt, ">=", from.At)
	default:
		t.place(c, colExportedAt, ">", from)
	}
	return t.withID(c)
}

// withID leaves out the rows without id, which are nowhere in the order.
func (t *Table) withID(c *conditions) *conditions {
	if t.nullID {
		c.add(t.sanitized(colID) + " is not null")
	}
	return c
}

// withoutID are the rows without id that were exported from a moment on.
func (t *Table) withoutID(from Cursor) *conditions {
	c := &conditions{texts: []string{t.sanitized(colID) + " is null", t.sanitized(colExportedAt) + " is not null"}}
	if !from.IsZero() {
		t.moment(c, colExportedAt, ">=", from.At)
	}
	return c
}

// ordered returns the SELECT of a list of columns of rows in the order of a time column and
// id. A name without e. would mean what is selected under that name.
func (t *Table) ordered(list string, c *conditions, order, limit int) (string, []any) {
	return "select " + list + "\nfrom " + t.Relation() + " as e" + c.where() +
		"\norder by e." + t.sanitized(order) + ", e." + t.sanitized(colID) + "\nlimit " + c.arg(limit), c.args
}

// pageSelect returns the SELECT of one page in the order of (exported_at, id).
func (t *Table) pageSelect(list string, from Cursor, limit int) (string, []any) {
	return t.ordered(list, t.after(&conditions{}, from), colExportedAt, limit)
}

// newestSelect returns the SELECT of those rows that were exported last.
func (t *Table) newestSelect(list string, c *conditions, limit int) (string, []any) {
	exported, id := "e."+t.sanitized(colExportedAt), "e."+t.sanitized(colID)
	return "select " + list + "\nfrom " + t.Relation() + " as e" + c.where() +
		"\norder by " + exported + " desc, " + id + " desc\nlimit " + c.arg(limit), c.args
}

// keysSelect returns the SELECT of the keys, in the order of pageSelect, of the rows that
// were exported before a moment.
func (t *Table) keysSelect(list string, from Cursor, before time.Time, limit int) (string, []any) {
	c := t.after(&conditions{}, from)
	t.moment(c, colExportedAt, "<", before)
	return t.ordered(list, c, colExportedAt, limit)
}

// idSelect returns the SELECT of the rows whose ids are in $1. The list is of text,
// for which no driver needs to know the type of the id.
func (t *Table) idSelect(list string) string {
	return "select " + list + "\nfrom " + t.Relation() +
		"\nwhere " + t.sanitized(colID) + " = any ($1::text[]::" + t.idType() + "[])"
}

// hexSelect is idSelect for ids that are known by their bytes.
func (t *Table) hexSelect() string {
	return "select " + t.rawList(numColumns) + "\nfrom " + t.Relation() +
		"\nwhere " + t.sanitized(colID) + " = any (array(select convert_from(b, 'SQL_ASCII') from unnest($1::bytea[]) as b))"
}

// countSelect counts rows up to a limit.
func (t *Table) countSelect(c *conditions, limit int) (string, []any) {
	return "select count(*) from (select from " + t.Relation() + c.where() + "\nlimit " + c.arg(limit) + ") as counted", c.args
}

// unreadable are the rows that no page will ever hold.
func (t *Table) unreadable() *conditions {
	return &conditions{texts: []string{t.sanitized(colExportedAt) + " is null"}}
}

// future are the rows ahead of the server's clock.
func (t *Table) future() *conditions {
	return &conditions{texts: []string{t.sanitized(colExportedAt) + " > " + t.local(colExportedAt, "clock_timestamp()")}}
}

// explainSelect asks the planner how many rows there are.
func (t *Table) explainSelect(c *conditions) (string, []any) {
	return "explain (format json) select from " + t.Relation() + c.where(), c.args
}

// duplicateSelect finds ids that stand twice among the rows from a moment on, for
// exports whose ids no index keeps unique.
func (t *Table) duplicateSelect(from Cursor) (string, []any) {
	from.ID = nil
	c := t.after(&conditions{}, from)
	id := t.sanitized(colID)
	list := id + "::text"
	if t.textID() {
		list = "encode(convert_to(" + id + "::text, 'SQL_ASCII'), 'hex')"
	}
	return "select " + list + "\nfrom " + t.Relation() + c.where() +
		"\ngroup by " + id + "\nhaving count(*) > 1\norder by 1\nlimit " + c.arg(mostTwice), c.args
}

// columnList names the first n canonical columns in their order, as they are, for then the server says of
// which types they are; a missing kind is NULL.
func (t *Table) columnList(n int) string {
	list := make([]string, n)
	for i := range list {
		switch {
		case !t.has(i):
			list[i] = "null::text"
		case i < numKeys:
			list[i] = t.read(i)
		default:
			list[i] = t.sanitized(i)
		}
	}
	return strings.Join(list, ", ")
}

func (t *Table) sanitized(column int) string {
	return pgx.Identifier{t.Columns[column].Name}.Sanitize()
}

func (t *Table) idType() string { return typeName(t.Columns[colID].oid) }
