package source

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// Cursor is a place in the reading order, (exported_at, id). The zero Cursor
// stands before every row.
type Cursor struct {
	// At is exported_at in UTC; beyond what Postgres can store it stands for an
	// infinity.
	At time.Time
	// ID is the row's id as Postgres prints it, nil before every id of that
	// moment.
	ID *string
	// set tells the zero Cursor from one at year 1.
	set bool
}

// At returns the cursor before every row of that moment.
func At(at time.Time) Cursor { return Cursor{At: at.UTC(), set: true} }

// After returns the cursor of a row.
func After(at time.Time, id string) Cursor { return Cursor{At: at.UTC(), ID: &id, set: true} }

// IsZero reports whether the cursor stands before every row.
func (c Cursor) IsZero() bool { return !c.set }

// String prints the cursor for logs and errors.
func (c Cursor) String() string {
	switch {
	case c.IsZero():
		return "(beginning)"
	case c.ID == nil:
		return fmt.Sprintf("(%s)", formatTime(c.At))
	default:
		return fmt.Sprintf("(%s, %s)", formatTime(c.At), *c.ID)
	}
}

// Finite reports whether the cursor's time is one that Postgres can print.
func (c Cursor) Finite() bool { return c.At.Before(positiveInfinity) && c.At.After(negativeInfinity) }

// The infinities of Postgres as times outside of its range (4713 BC to 294276 AD,
// https://www.postgresql.org/docs/current/datatype-datetime.html).
var (
	positiveInfinity = time.Date(294277, 1, 1, 0, 0, 0, 0, time.UTC)
	negativeInfinity = time.Date(-4800, 1, 1, 0, 0, 0, 0, time.UTC)
)

// timestamp is a time as an argument of a statement.
func timestamp(at time.Time) pgtype.Timestamptz {
	v := pgtype.Timestamptz{Time: at.UTC(), Valid: true}
	switch {
	case !at.Before(positiveInfinity):
		v.InfinityModifier = pgtype.Infinity
	case !at.After(negativeInfinity):
		v.InfinityModifier = pgtype.NegativeInfinity
	}
	return v
}

func formatTime(t time.Time) string {
	switch {
	case t.IsZero():
		return "NULL"
	case !t.Before(positiveInfinity):
		return "infinity"
	case !t.After(negativeInfinity):
		return "-infinity"
	}
	return t.Format("2006-01-02T15:04:05.999999Z07:00")
}
