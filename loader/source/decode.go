package source

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/candu-loader/candu-loader/loader/event"
)

// arenaChunk is how much memory is taken at once for the texts of a page.
const arenaChunk = 64 << 10

// arena keeps the texts of one page in a few large pieces, so that a page costs
// a few allocations instead of ten for each row. Its memory is never written
// twice; it goes when the last text is forgotten.
type arena struct{ free []byte }

// grab returns n bytes to be filled before the next call.
func (a *arena) grab(n int) []byte {
	if n > len(a.free) {
		a.free = make([]byte, max(n, arenaChunk))
	}
	piece := a.free[:n:n]
	a.free = a.free[n:]
	return piece
}

func (a *arena) text(raw []byte) string {
	if len(raw) == 0 {
		return ""
	}
	piece := a.grab(len(raw))
	copy(piece, raw)
	return text(piece)
}

// text makes a string of bytes that nobody writes again.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// decoder turns the raw values of a SELECT into interactions.
type decoder struct {
	table *Table
	arena arena
}

// row decodes one row. nulls has bit i set where column i is NULL.
func (d *decoder) row(raw [][]byte, in *event.Interaction) (nulls uint16, err error) {
	texts := [numColumns]*string{
		colID: &in.ID, colKind: &in.Kind, colUserID: &in.UserID, colAnonymousID: &in.AnonymousID,
		colTutorialID: &in.TutorialID, colSegmentID: &in.SegmentID, colPortalID: &in.PortalID,
		colVersionID: &in.VersionID, colEventName: &in.EventName,
	}
	for i, value := range raw {
		if value == nil {
			nulls |= 1 << i
			continue
		}
		switch i {
		case colExportedAt:
			in.ExportedAt, err = timestamp(value)
		case colOccurredAt:
			in.OccurredAt, err = timestamp(value)
		default:
			*texts[i], err = d.text(i, value)
		}
		if err != nil {
			return 0, fmt.Errorf("decoding column %q: %w", Names[i], err)
		}
	}
	return nulls, nil
}

// key decodes the columns of a key. A NULL leaves its field as it is.
func (d *decoder) key(raw [][]byte, key *Key) (err error) {
	for i, value := range raw {
		if value == nil {
			continue
		}
		switch i {
		case colExportedAt:
			key.ExportedAt, err = timestamp(value)
		case colOccurredAt:
			key.OccurredAt, err = timestamp(value)
		default:
			key.ID, err = d.text(i, value)
		}
		if err != nil {
			return fmt.Errorf("decoding column %q: %w", Names[i], err)
		}
	}
	return nil
}

// text returns the value as Postgres prints it.
func (d *decoder) text(column int, raw []byte) (string, error) {
	c := d.table.Columns[column]
	if !c.native {
		return d.arena.text(raw), nil
	}
	switch c.oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
		n, err := integer(raw)
		if err != nil {
			return "", err
		}
		var digits [20]byte
		return d.arena.text(strconv.AppendInt(digits[:0], n, 10)), nil
	case pgtype.UUIDOID:
		if len(raw) != 16 {
			return "", errLength(raw)
		}
		piece := d.arena.grab(36)
		formatUUID(piece, raw)
		return text(piece), nil
	default:
		if !utf8.Valid(raw) {
			// Only from a database in SQL_ASCII; Segment gets U+FFFD too.
			return string([]rune(string(raw))), nil
		}
		return d.arena.text(raw), nil
	}
}

func integer(raw []byte) (int64, error) {
	switch len(raw) {
	case 2:
		return int64(int16(binary.BigEndian.Uint16(raw))), nil
	case 4:
		return int64(int32(binary.BigEndian.Uint32(raw))), nil
	case 8:
		return int64(binary.BigEndian.Uint64(raw)), nil
	}
	return 0, errLength(raw)
}

// timestamp decodes microseconds since 2000-01-01, the wire form of both
// timestamp types; one without a zone is UTC.
func timestamp(raw []byte) (time.Time, error) {
	if len(raw) != 8 {
		return time.Time{}, errLength(raw)
	}
	micros := int64(binary.BigEndian.Uint64(raw))
	switch micros {
	case math.MaxInt64:
		return positiveInfinity, nil
	case math.MinInt64:
		return negativeInfinity, nil
	}
	const epoch = 946684800 // 2000-01-01 in unix seconds
	return time.Unix(epoch+micros/1e6, micros%1e6*1e3).UTC(), nil
}

func errLength(raw []byte) error { return fmt.Errorf("unexpected value of %d bytes", len(raw)) }

func formatUUID(out, raw []byte) {
	const digits = "0123456789abcdef"
	j := 0
	for i, b := range raw {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			out[j] = '-'
			j++
		}
		out[j], out[j+1] = digits[b>>4], digits[b&15]
		j += 2
	}
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
		case !t.Columns[i].present:
		case nulls&(1<<i) != 0:
			object[Names[i]] = nil
		case isInteger(t.Columns[i].oid):
			object[Names[i]] = json.RawMessage(value)
		default:
			object[Names[i]] = value
		}
	}
	return json.Marshal(object)
}

func isInteger(oid uint32) bool {
	return oid == pgtype.Int2OID || oid == pgtype.Int4OID || oid == pgtype.Int8OID
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
