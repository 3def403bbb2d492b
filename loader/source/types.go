package source

import (
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/candu-loader/candu-loader/loader/fault"
)

// All but times are read as Postgres prints them, without a cast, for then each page says of which types its
// columns are: they may change while a run goes on.

// formats are those of the columns of a page, in the order of [Names].
var formats = func() pgx.QueryResultFormats {
	list := make(pgx.QueryResultFormats, numColumns)
	list[colExportedAt], list[colOccurredAt] = pgtype.BinaryFormatCode, pgtype.BinaryFormatCode
	return list
}()

// selected is the type that a page has for a column.
func (t *Table) selected(column int) uint32 {
	switch {
	case column == colExportedAt || column == colOccurredAt:
		return pgtype.TimestamptzOID
	case !t.has(column):
		return pgtype.TextOID
	}
	return t.Columns[column].oid
}

// sameTypes refuses a page of which a column is of another type than when the table was looked at.
func (t *Table) sameTypes(fields []pgconn.FieldDescription) error {
	for i, field := range fields {
		if field.DataTypeOID != t.selected(i) {
			e := fault.New(fault.Failed, "column %q (%s) was of type %s and is of another one now", t.Columns[i].Name, Names[i], t.Columns[i].Type)
			e.Err = errRetyped
			return e.WithHint("%s", changedHint)
		}
	}
	return nil
}

// texts fills in the texts of a row, and returns what is left to scan.
func (t *Table) texts(into []any, values [][]byte) []any {
	into = into[:len(values)]
	for i, value := range values {
		field, isText := into[i].(*text)
		if !isText {
			continue
		}
		into[i] = nil
		if *field = text(value); t.Columns[i].oid == pgtype.BPCharOID {
			*field = text(strings.TrimRight(string(value), " ")) // They are filled up, and mean nothing.
		}
	}
	return into
}
