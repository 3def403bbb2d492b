package source

import (
	"cmp"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/postgres"
)

// targets are the fields of a row in the order of [Names], as rows.Scan takes them.
func targets(in *event.Interaction) []any {
	return []any{
		(*text)(&in.ID), (*moment)(&in.ExportedAt), (*moment)(&in.OccurredAt), (*text)(&in.Kind), (*text)(&in.UserID), (*text)(&in.AnonymousID),
		(*text)(&in.TutorialID), (*text)(&in.SegmentID), (*text)(&in.PortalID), (*text)(&in.VersionID), (*text)(&in.EventName),
	}
}

// text scans a value as Postgres prints it; "" for NULL.
type text string

// ScanText implements [pgtype.TextScanner].
func (t *text) ScanText(v pgtype.Text) error {
	*t = text(v.String)
	return nil
}

// valid returns a text that is UTF-8, which only one from a database in SQL_ASCII may not be: then
// each byte that is none is U+FFFD.
func valid(s string) text {
	if utf8.ValidString(s) {
		return text(s)
	}
	return text([]rune(s))
}

// clean makes the texts of a row what they mean: numbers without a fraction that says nothing, and
// UTF-8, which they may not be in SQL_ASCII alone.
func (t *Table) clean(in *event.Interaction) {
	t.nameID(in)
	t.numbers(in)
	if t.encoding != postgres.SQLASCII {
		return
	}
	for _, field := range []*string{
		&in.Kind, &in.UserID, &in.AnonymousID, &in.TutorialID, &in.SegmentID, &in.PortalID, &in.VersionID, &in.EventName,
	} {
		*field = string(valid(*field))
	}
}

// numbers makes numbers of a row plain.
func (t *Table) numbers(in *event.Interaction) {
	if slices.Contains(numberTypes, t.Columns[colUserID].oid) {
		in.UserID = plain(in.UserID)
	}
	if slices.Contains(numberTypes, t.Columns[colAnonymousID].oid) {
		in.AnonymousID = plain(in.AnonymousID)
	}
	// What is no number stays, to be told of.
	if t.Columns[colTutorialID].oid == pgtype.NumericOID {
		in.TutorialID = cmp.Or(plain(in.TutorialID), in.TutorialID)
	}
	if t.Columns[colPortalID].oid == pgtype.NumericOID {
		in.PortalID = cmp.Or(plain(in.PortalID), in.PortalID)
	}
}

// plain is a number as it identifies somebody: 7.00 and 7e0 are 7; "" for NaN and the infinities, which
// identify nobody.
func plain(number string) string {
	if strings.Trim(number, "-0123456789") == "" {
		return number
	}
	value, ok := new(big.Rat).SetString(number)
	switch {
	case !ok:
		return ""
	case value.IsInt():
		return value.Num().String()
	}
	return number
}

// Identity returns who a text names in a column, [event.UserID] or [event.AnonymousID], as a row of that person has
// it: 7.0 and 007 are 7 where the column has numbers.
func (t *Table) Identity(column, text string) string {
	text = strings.TrimSpace(text)
	oid := t.Columns[slices.Index(Names[:], column)].oid
	switch {
	case slices.Contains(numberTypes, oid) || slices.Contains(integerTypes, oid):
		if number, ok := new(big.Rat).SetString(text); ok && number.IsInt() {
			return number.Num().String()
		}
	case oid == pgtype.UUIDOID:
		if id, err := uuid.Parse(text); err == nil {
			return id.String()
		}
	}
	return text
}

// moment scans a time in UTC, zero for NULL, and the infinities as [Cursor] has them.
type moment time.Time

// ScanTimestamptz implements [pgtype.TimestamptzScanner].
func (m *moment) ScanTimestamptz(v pgtype.Timestamptz) error {
	switch v.InfinityModifier {
	case pgtype.Infinity:
		*m = moment(positiveInfinity)
	case pgtype.NegativeInfinity:
		*m = moment(negativeInfinity)
	default:
		*m = moment(v.Time.UTC())
	}
	return nil
}

// object returns a row as JSON by canonical names, for the ledger of rejects.
func (t *Table) object(in *event.Interaction, nulls uint16) ([]byte, error) {
	texts := [numColumns]string{
		colID: in.ID, colExportedAt: formatTime(in.ExportedAt), colOccurredAt: formatTime(in.OccurredAt),
		colKind: in.Kind, colUserID: in.UserID, colAnonymousID: in.AnonymousID, colTutorialID: in.TutorialID,
		colSegmentID: in.SegmentID, colPortalID: in.PortalID, colVersionID: in.VersionID, colEventName: in.EventName,
	}
	object := make(map[string]any, numColumns)
	for i, value := range texts {
		switch {
		case !t.has(i):
		case nulls&(1<<i) != 0:
			object[Names[i]] = nil
		case slices.Contains(integerTypes, t.Columns[i].oid):
			object[Names[i]] = json.RawMessage(value)
		default:
			object[Names[i]] = value
		}
	}
	return json.Marshal(object)
}

func typeName(oid uint32) string {
	switch oid {
	case pgtype.Int2OID:
		return "smallint"
	case pgtype.Int4OID:
		return "integer"
	case pgtype.Int8OID:
		return "bigint"
	case pgtype.UUIDOID:
		return "uuid"
	default:
		return "text"
	}
}
