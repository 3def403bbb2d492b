package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/postgres"
)

// This file writes the mirror with COPY, which takes Postgres about half of the time of INSERT
// and this program a third. Rows are encoded once, when their page was delivered: the page can
// be forgotten, and recording may be repeated. pgx's own CopyFrom would do, at a sixth more
// CPU time for the whole run: it asks for the columns' types before each COPY, and boxes each
// value.

// The columns in the order in which rows are encoded: those that are the same for all rows of a
// page stand first. uuid_ts is filled in by the server.
const (
	commonColumns = `context_integration_name, context_integration_version, context_library_name, context_library_version, `
	eventColumns  = `id, received_at, sent_at, original_timestamp, "timestamp", anonymous_id, user_id, loader_interaction_id`
	detailColumns = `, tutorial_id, segment_id, portal_id, version_id`

	screenColumns      = commonColumns + `name, ` + eventColumns + detailColumns
	trackColumns       = commonColumns + `event, event_text, ` + eventColumns
	interactionColumns = trackColumns + detailColumns + `, event_name`
)

// interactionTable is the name of the table of interactions, which is also how Segment's
// connector calls the event in it.
const interactionTable = "tutorial_interaction"

// Integration is the name of the integration in each row.
const Integration = "candu"

// mirrorTable is a table of the mirror, and the statements by which rows get into it.
type mirrorTable struct {
	name    string
	columns int
	// copy is the usual way. Where a row is there already, rows go through a temporary table.
	copy, makeIncoming, copyIncoming, insertIncoming string
}

// newTable makes the statements of constants: SQL has no other way to say one list of columns
// four times.
func newTable(name, columns string) *mirrorTable {
	incoming, into := "loader_incoming_"+name, " ("+columns+")"
	return &mirrorTable{
		name: name, columns: strings.Count(columns, ",") + 1,
		copy:           "copy " + name + into + " from stdin (format binary)",
		makeIncoming:   "create temporary table " + incoming + " on commit drop as select " + columns + " from " + name + " with no data",
		copyIncoming:   "copy " + incoming + into + " from stdin (format binary)",
		insertIncoming: "insert into " + name + into + " select " + columns + " from " + incoming + " on conflict (id) do nothing",
	}
}

var (
	screens      = newTable("screens", screenColumns)
	tracks       = newTable("tracks", trackColumns)
	interactions = newTable(interactionTable, interactionColumns)
)

// copyRows are rows of one table in COPY's binary format
// (https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4), without its
// beginning and end.
type copyRows struct {
	table *mirrorTable
	data  []byte
	ids   []string
	// ends says where each row ends in data.
	ends []int
}

var (
	copyBegin = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	copyEnd   = []byte{0xff, 0xff} // A row of -1 columns.
)

// add encodes the row of an event. What the event leaves out is NULL.
func (c *copyRows) add(e *event.Event, m *Mirrored, same []byte) {
	row := e.Row
	b := binary.BigEndian.AppendUint16(c.data, uint16(c.table.columns))
	b = append(b, same...)
	if c.table == screens {
		b = appendText(b, event.ViewName)
	} else {
		b = appendText(b, interactionTable)
		b = appendText(b, event.InteractionName)
	}
	b = appendText(b, e.MessageID)
	b = appendTime(b, m.ReceivedAt)
	b = appendTime(b, m.SentAt)
	b = appendTime(b, e.At)
	b = appendTime(b, e.At)
	b = appendText(b, event.Present(row.AnonymousID))
	b = appendText(b, event.Present(row.UserID))
	b = appendText(b, row.ID)
	if c.table != tracks {
		b = appendInt(b, e.TutorialID)
		b = appendText(b, event.Present(row.SegmentID))
		if e.HasPortal {
			b = appendInt(b, e.PortalID)
		} else {
			b = appendText(b, "")
		}
		b = appendText(b, event.Present(row.VersionID))
	}
	if c.table == interactions {
		b = appendText(b, row.EventName)
	}
	c.data, c.ids, c.ends = b, append(c.ids, e.MessageID), append(c.ends, len(b))
}

// reset forgets the rows and keeps the memory.
func (c *copyRows) reset() {
	clear(c.ids)
	c.data, c.ids, c.ends = c.data[:0], c.ids[:0], c.ends[:0]
}

// reader reads as what COPY takes.
func (c *copyRows) reader() io.Reader {
	return io.MultiReader(bytes.NewReader(copyBegin), bytes.NewReader(c.data), bytes.NewReader(copyEnd))
}

// without returns the rows whose ids are not among those.
func (c *copyRows) without(ids map[string]struct{}) *copyRows {
	left, begin := &copyRows{table: c.table}, 0
	for i, end := range c.ends {
		if _, there := ids[c.ids[i]]; !there {
			// A row that stands twice among them goes in once.
			ids[c.ids[i]] = struct{}{}
			left.data, left.ids, left.ends = append(left.data, c.data[begin:end]...), append(left.ids, c.ids[i]), append(left.ends, end)
		}
		begin = end
	}
	return left
}

// copyAll copies the rows straight into their table.
func copyAll(ctx context.Context, tx pgx.Tx, c *copyRows) error {
	done, err := tx.Conn().PgConn().CopyFrom(ctx, c.reader(), c.table.copy)
	if err == nil && done.RowsAffected() < int64(len(c.ids)) {
		err = c.swallowed(len(c.ids) - int(done.RowsAffected()))
	}
	return err
}

// swallowed says that the table took rows without keeping them, as one with a trigger may: nothing
// else would notice.
func (c *copyRows) swallowed(rows int) error {
	return fault.New(fault.Precondition, "table %q kept %d of %d rows", c.table.name, len(c.ids)-rows, len(c.ids)).
		WithHint("A trigger keeps rows out. SELECT tgname, tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal;  shows it, DROP TRIGGER takes it away.")
}

// insertNew is insertMissing, and looks whether the table has them all then.
func (l *Ledger) insertNew(ctx context.Context, tx pgx.Tx, c *copyRows) error {
	if err := insertMissing(ctx, tx, c); err != nil {
		return err
	}
	missing, err := l.missing(ctx, tx, c)
	if err == nil && len(missing.ids) > 0 {
		err = c.swallowed(len(missing.ids))
	}
	return err
}

// insertMissing copies the rows into a temporary table, and inserts those from there that the table
// does not have yet.
func insertMissing(ctx context.Context, tx pgx.Tx, c *copyRows) error {
	if _, err := tx.Exec(ctx, c.table.makeIncoming); err != nil {
		if postgres.Denied(err) {
			return errNoTemporary
		}
		return err
	}
	if _, err := tx.Conn().PgConn().CopyFrom(ctx, c.reader(), c.table.copyIncoming); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, c.table.insertIncoming)
	return err
}

// errNoTemporary says that the role may make no temporary table.
var errNoTemporary = errors.New("no temporary table may be made")

// refusesCopy reports whether err says that a COPY can't write what an INSERT may: a row
// that is there already. Of another constraint than the primary key it says nothing like that.
func refusesCopy(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "23505" && strings.HasSuffix(pg.ConstraintName, "_pkey")
}

// appendText appends a text, NULL for "".
func appendText(b []byte, s string) []byte {
	if s == "" {
		return binary.BigEndian.AppendUint32(b, 0xffffffff)
	}
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

func appendInt(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, 8), uint64(n))
}

// appendTime appends a timestamptz: microseconds since 2000.
func appendTime(b []byte, t time.Time) []byte {
	const year2000 = 946_684_800
	return appendInt(b, (t.Unix()-year2000)*1_000_000+int64(t.Nanosecond())/1000)
}
