package source

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/queries"
)

// A database in another encoding than UTF8 may hold bytes that Postgres can't convert. It refuses
// the page that holds them, at that row. Then the row is read by its bytes, each text is converted
// alone, and the ones that can't be make the row a reject.
//
// In SQL_ASCII nothing is converted, so bytes that are no UTF-8 arrive here. In a value they become
// U+FFFD.

// textID reports whether ids may hold such bytes. A row with such an id is known by the bytes in hex.
func (t *Table) textID() bool {
	return t.encoding != postgres.UTF8 && slices.Contains(textTypes, t.Columns[colID].oid)
}

// hexID is the name of an id by its bytes.
func hexID(id string) string { return `\x` + hex.EncodeToString([]byte(id)) }

// ofHex returns the bytes that a name stands for, if it is that of an id that is known by its bytes. An id
// that looks like such a name is known by its bytes too, so two ids never have one name.
func (t *Table) ofHex(name string) (id []byte, ok bool) {
	digits, found := strings.CutPrefix(name, `\x`)
	if !found || !t.textID() {
		return nil, false
	}
	id, err := hex.DecodeString(digits)
	if err != nil || hex.EncodeToString(id) != digits {
		return nil, false
	}
	_, again := t.ofHex(string(id))
	return id, again || t.doubtful(string(id))
}

// doubtful reports whether a text may be one that can't be converted.
func (t *Table) doubtful(text string) bool {
	if t.encoding == postgres.SQLASCII {
		return !utf8.ValidString(text)
	}
	return strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
}

// nameID gives a row's id the name by which it is known, if it is not the id itself.
func (t *Table) nameID(in *event.Interaction) {
	if !t.textID() {
		return
	}
	if _, looks := t.ofHex(in.ID); looks {
		in.ID, in.Garbled = hexID(in.ID), fmt.Sprintf("id %q looks like the bytes of another id", in.ID)
	} else if !utf8.ValidString(in.ID) {
		in.ID, in.Garbled = hexID(in.ID), "id holds bytes that are no UTF-8"
	}
}

// rawList names the first n canonical columns as columnList does, texts by their bytes in hex.
func (t *Table) rawList(n int) string {
	list := make([]string, n)
	for i := range list {
		switch {
		case !t.has(i):
			list[i] = "null::text"
		case i == colExportedAt || i == colOccurredAt:
			list[i] = t.read(i)
		default:
			list[i] = "encode(convert_to(" + t.sanitized(i) + "::text, 'SQL_ASCII'), 'hex')"
		}
	}
	return strings.Join(list, ", ")
}

// rawRow is a row whose texts are bytes.
type rawRow struct {
	row   event.Interaction
	texts [numColumns][]byte
	nulls uint16
	bytes int
}

// raw reads the rows of a SELECT of a rawList, and converts each text of them alone.
func (s *Source) raw(ctx context.Context, doing, sql string, args ...any) (*Page, error) {
	rows, err := collect(ctx, s, doing, scanRaw, sql, args...)
	if err != nil {
		return nil, err
	}
	page := &Page{table: s.table}
	for i := range rows {
		if err := s.convert(ctx, &rows[i]); err != nil {
			return nil, err
		}
		s.table.numbers(&rows[i].row)
		page.Rows, page.nulls, page.Bytes = append(page.Rows, rows[i].row), append(page.nulls, rows[i].nulls), page.Bytes+rows[i].bytes
	}
	return page, nil
}

func scanRaw(r pgx.CollectableRow) (raw rawRow, err error) {
	n := len(r.RawValues())
	into := targets(&raw.row)[:n]
	var texts [numColumns]pgtype.Text
	for i := range into {
		if i != colExportedAt && i != colOccurredAt {
			into[i] = &texts[i]
		}
	}
	raw.bytes = rowOverhead
	for i, value := range r.RawValues() {
		if value == nil {
			raw.nulls |= 1 << i
		}
		raw.bytes += len(value)
	}
	if err = r.Scan(into...); err != nil {
		return raw, err
	}
	for i := range texts {
		if raw.texts[i], err = hex.DecodeString(texts[i].String); err != nil {
			return raw, err
		}
	}
	return raw, nil
}

// convert fills in the texts of a row.
func (s *Source) convert(ctx context.Context, raw *rawRow) error {
	var bad []string
	for i, into := range targets(&raw.row) {
		field, isText := into.(*text)
		if !isText {
			continue
		}
		value, ok, err := s.converted(ctx, raw.texts[i])
		if err != nil {
			return err
		}
		*field = text(value)
		if !ok {
			bad = append(bad, Names[i])
		}
		switch {
		case i == colID && !ok:
			*field = text(hexID(string(raw.texts[i])))
		case i == colID:
			s.table.nameID(&raw.row)
		default:
			*field = valid(value)
		}
	}
	if len(bad) > 0 {
		raw.row.Garbled = fmt.Sprintf("%s: bytes that can't be converted from %s", strings.Join(bad, ", "), s.table.encoding)
	}
	return nil
}

// converted converts a text from the encoding of the database; ok is false if it can't be: then
// what is no ASCII is U+FFFD.
func (s *Source) converted(ctx context.Context, raw []byte) (value string, ok bool, err error) {
	if s.table.encoding == postgres.SQLASCII || !slices.ContainsFunc(raw, func(b byte) bool { return b >= utf8.RuneSelf }) {
		return string(raw), true, nil
	}
	value, err = ask(ctx, s, "converting a text", func(ctx context.Context, db queries.DBTX) (string, error) {
		return queries.New().ExportText(ctx, db, raw)
	})
	if !postgres.Unconvertible(err) {
		return value, err == nil, err
	}
	plain := make([]rune, len(raw))
	for i, b := range raw {
		if plain[i] = rune(b); b >= utf8.RuneSelf {
			plain[i] = utf8.RuneError
		}
	}
	return string(plain), false, nil
}
