package ledger

import (
	"context"
	"encoding/binary"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/postgres"
)

// This file writes the mirror with COPY, which takes Postgres about half of the time
// of INSERT ... ON CONFLICT and this program a third, for rows go from the page to the
// socket without an array in between. COPY knows no ON CONFLICT: a page of which a
// row is there already is recorded by the INSERTs of queries/mirror.sql instead, and both
// must write the same. pgx's own CopyFrom would do, at a sixth more CPU time for the whole
// run: it asks for the columns' types before each COPY, and boxes each value.

// The columns in the order in which copyRows writes them: those that are the same for all
// rows of a page stand first.
const (
	commonColumns = `context_integration_name, context_integration_version, context_library_name, context_library_version, uuid_ts, `
	eventColumns  = `id, received_at, sent_at, original_timestamp, "timestamp", anonymous_id, user_id, loader_interaction_id`
	detailColumns = `, tutorial_id, segment_id, portal_id, version_id`

	copyScreens      = `copy screens (` + commonColumns + `name, ` + eventColumns + detailColumns + `) from stdin (format binary)`
	copyTracks       = `copy tracks (` + commonColumns + `event, event_text, ` + eventColumns + `) from stdin (format binary)`
	copyInteractions = `copy tutorial_interaction (` + commonColumns + `event, event_text, ` + eventColumns + detailColumns + `, event_name) from stdin (format binary)`
)

// interactionTable is the name of the table of interactions, which is also how Segment's
// connector calls the event in it.
const interactionTable = "tutorial_interaction"

// copyMirror writes the page's rows into the mirror.
func copyMirror(ctx context.Context, tx pgx.Tx, now time.Time, page *Page) error {
	for _, into := range []struct {
		sql   string
		kind  event.Kind
		names []string
		// details and name say which of the columns the table has.
		details, name bool
	}{
		{copyScreens, event.View, []string{event.ViewName}, true, false},
		{copyTracks, event.Interacted, []string{interactionTable, event.InteractionName}, false, false},
		{copyInteractions, event.Interacted, []string{interactionTable, event.InteractionName}, true, true},
	} {
		rows := &copyRows{mirrored: page.Mirrored, kind: into.kind, details: into.details, name: into.name}
		if !rows.seek() {
			continue
		}
		rows.begin(page, now, into.names)
		if _, err := tx.Conn().PgConn().CopyFrom(ctx, rows, into.sql); err != nil {
			return err
		}
	}
	return nil
}

// refusesCopy reports whether err says that a COPY can't write what an INSERT may: a row
// that is there already, or a table whose policies COPY can't obey.
func refusesCopy(err error) bool {
	code := postgres.Code(err)
	return code == "23505" || code == "0A000"
}

// copyRows reads as the rows of one kind in COPY's binary format
// (https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4).
type copyRows struct {
	mirrored      []Mirrored
	kind          event.Kind
	details, name bool

	// same begins every row: the number of columns, and those that all rows share.
	same []byte
	// next is the event to come in the first of mirrored, pending what was made and not
	// read yet.
	next    int
	done    bool
	buffer  []byte
	pending []byte
}

// copyChunk is how many bytes are made at once.
const copyChunk = 32 << 10

var copySignature = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")

// seek moves to the next event of the kind.
func (c *copyRows) seek() bool {
	for ; len(c.mirrored) > 0; c.mirrored, c.next = c.mirrored[1:], 0 {
		for events := c.mirrored[0].Events; c.next < len(events); c.next++ {
			if events[c.next].Kind == c.kind {
				return true
			}
		}
	}
	return false
}

func (c *copyRows) begin(page *Page, now time.Time, names []string) {
	columns := 5 + len(names) + 8
	if c.details {
		columns += 4
	}
	if c.name {
		columns++
	}
	b := binary.BigEndian.AppendUint16(nil, uint16(columns))
	b = appendText(b, "candu")
	b = appendText(b, page.Version)
	b = appendText(b, page.Library.Name)
	b = appendText(b, page.Library.Version)
	b = appendTime(b, now)
	for _, name := range names {
		b = appendText(b, name)
	}
	c.same = b
	c.buffer = append(make([]byte, 0, copyChunk+copyChunk/8), copySignature...)
	c.pending = c.buffer
}

// Read implements [io.Reader].
func (c *copyRows) Read(p []byte) (int, error) {
	if len(c.pending) == 0 {
		if c.done {
			return 0, io.EOF
		}
		c.fill()
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

func (c *copyRows) fill() {
	b := c.buffer[:0]
	for len(b) < copyChunk {
		if !c.seek() {
			c.done = true
			b = append(b, 0xff, 0xff) // The end: a row of -1 columns.
			break
		}
		b = c.row(b, &c.mirrored[0])
		c.next++
	}
	c.buffer, c.pending = b, b
}

// row appends one row. What the event leaves out is NULL.
func (c *copyRows) row(b []byte, m *Mirrored) []byte {
	e := &m.Events[c.next]
	row := e.Row
	b = append(b, c.same...)
	b = appendText(b, e.MessageID)
	b = appendTime(b, m.ReceivedAt)
	b = appendTime(b, m.SentAt)
	b = appendTime(b, e.At)
	b = appendTime(b, e.At)
	b = appendText(b, event.Present(row.AnonymousID))
	b = appendText(b, event.Present(row.UserID))
	b = appendText(b, row.ID)
	if c.details {
		b = appendInt(b, e.TutorialID)
		b = appendText(b, event.Present(row.SegmentID))
		if e.HasPortal {
			b = appendInt(b, e.PortalID)
		} else {
			b = appendText(b, "")
		}
		b = appendText(b, event.Present(row.VersionID))
	}
	if c.name {
		b = appendText(b, row.EventName)
	}
	return b
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
