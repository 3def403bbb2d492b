package source

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/candu-loader/candu-loader/loader/event"
)

// The sum of a row stands for all of its values as the mirror has them: the first 64 bits of the SHA-256 of what
// record_send makes of them. It is the same in every version, encoding and setting, and queries/verify.sql has
// the mirror's. It is a filter that errs one way alone: rows of one sum are equal; where sums differ, the
// rows are read and converted.
//
// A row with more bytes of text than an event may have can't be in the mirror as it is; its values don't count, for a
// reject may not have them all.

// numberDigits is how many digits a number in a text may have to be seen as one here.
const numberDigits = 40

// values are the canonical columns that are compared, under their names, as texts and numbers.
func (t *Table) values() string {
	list := []string{t.sanitized(colID) + "::text as id", t.onDay(t.at(colOccurredAt)) + " as at"}
	for _, column := range []int{colUserID, colAnonymousID, colSegmentID, colVersionID, colEventName} {
		list = append(list, t.text(column)+" as "+Names[column])
	}
	for _, column := range []int{colTutorialID, colPortalID} {
		list = append(list, t.number(column)+" as "+Names[column])
	}
	return strings.Join(list, ", ")
}

// text is a column as a text, of numbers as plain makes it. Where it can't, as of the float 1e21, the text is another one, and
// the row is read.
func (t *Table) text(column int) string {
	name := t.sanitized(column)
	if !slices.Contains(numberTypes, t.Columns[column].oid) {
		return name + "::text"
	}
	return "case when " + name + "::text ~ '^-?[0-9]+[.][0-9]+$' then case when " + name + " = trunc(" + name + ") then trunc(" + name + ")::text else " + name + "::text end when " +
		name + "::text ~ '^-?[0-9]' then " + name + "::text end"
}

// number is a column of numbers as a bigint, NULL for what is none. It raises no error.
func (t *Table) number(column int) string {
	name := t.sanitized(column)
	if slices.Contains(integerTypes, t.Columns[column].oid) {
		return name + "::bigint"
	}
	const bounds = "between -9223372036854775808 and 9223372036854775807"
	if t.Columns[column].oid == pgtype.NumericOID {
		return "case when " + name + " = trunc(" + name + ") and " + name + " " + bounds + " then " + name + "::bigint end"
	}
	digits := func(least, most int) string {
		return fmt.Sprintf(`%s::text collate "C" ~ '^-?[0-9]{%d,%d}$'`, name, least, most)
	}
	return "case when " + digits(1, 18) + " then " + name + "::text::bigint when " + digits(19, numberDigits) + " then case when " +
		name + "::text::numeric " + bounds + " then " + name + "::text::bigint end end"
}

// present is a text that is not blank, NULL for one that is.
func present(text string) string { return "case when " + notBlank(text) + " then " + text + " end" }

// sumExpression is [Prints.Sum] of what values names.
func (p Prints) sumExpression() string {
	bytes := func(text string) string { return "convert_to(" + text + ", 'UTF8')" }
	key := "record_send(row(" + bytes("id") + ", at))"
	if p.Quick {
		return sumOf(key)
	}
	var sent, length []string
	for _, name := range []string{"user_id", "anonymous_id", "segment_id", "version_id", "event_name"} {
		value, text := bytes(present(name)), name
		if name == "event_name" { // Of a view it says nothing.
			value, text = "case when kind = 'interaction' then "+value+" end", "case when kind = 'interaction' then event_name end"
		}
		sent, length = append(sent, value), append(length, "coalesce(octet_length("+text+"), 0)")
	}
	return sumOf("case when " + strings.Join(length, " + ") + " > " + strconv.Itoa(event.MaxBytes) + " then " + key +
		" else record_send(row(" + bytes("id") + ", at, " + strings.Join(sent, ", ") + ", tutorial_id, portal_id)) end")
}

func sumOf(record string) string {
	return "('x' || left(encode(sha256(" + record + "), 'hex'), 16))::bit(64)::bigint"
}

// Sum is the sum of a row of that kind.
func (p Prints) Sum(kind string, in *event.Interaction) int64 {
	name := ""
	if kind == "interaction" {
		name = in.EventName
	}
	texts := []string{in.UserID, in.AnonymousID, in.SegmentID, in.VersionID, name}
	length := 0
	for _, text := range texts {
		length += len(text)
	}
	r := &record{}
	r.add(pgtype.ByteaOID, []byte(in.ID))
	r.addTime(in.OccurredAt)
	if !p.Quick && length <= event.MaxBytes {
		for _, text := range texts {
			if text = event.Present(text); text == "" {
				r.add(pgtype.ByteaOID, nil)
			} else {
				r.add(pgtype.ByteaOID, []byte(text))
			}
		}
		r.addNumber(in.TutorialID)
		r.addNumber(in.PortalID)
	}
	binary.BigEndian.PutUint32(r.data, r.columns)
	hash := sha256.Sum256(r.data)
	return int64(binary.BigEndian.Uint64(hash[:8]))
}

// record is what record_send makes of a row: the number of columns, and of each its type, length and bytes.
type record struct {
	columns uint32
	data    []byte
}

// add adds a column; nil = NULL.
func (r *record) add(oid uint32, value []byte) {
	if r.columns++; r.columns == 1 {
		r.data = make([]byte, 4, 256)
	}
	r.data = binary.BigEndian.AppendUint32(r.data, oid)
	if value == nil {
		r.data = binary.BigEndian.AppendUint32(r.data, 0xffffffff)
		return
	}
	r.data = append(binary.BigEndian.AppendUint32(r.data, uint32(len(value))), value...)
}

func (r *record) addTime(at time.Time) {
	if DayOf(at) == "" {
		r.add(pgtype.TimestamptzOID, nil)
		return
	}
	const year2000 = 946_684_800_000_000
	r.add(pgtype.TimestamptzOID, binary.BigEndian.AppendUint64(nil, uint64(at.UnixMicro()-year2000)))
}

func (r *record) addNumber(text string) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || text[0] == '+' || len(strings.TrimPrefix(text, "-")) > numberDigits {
		r.add(pgtype.Int8OID, nil)
		return
	}
	r.add(pgtype.Int8OID, binary.BigEndian.AppendUint64(nil, uint64(n)))
}
