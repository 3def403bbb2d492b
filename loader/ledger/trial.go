package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/queries"
)

const (
	// limitLocks bounds how long a trial waits for a lock: nothing is sent meanwhile, and who
	// holds it is to be named.
	limitLocks = "; set local lock_timeout to '10s'"
	// lockedBy finds the sessions that hold locks in a schema.
	lockedBy = `SELECT a.pid, a.usename, a.application_name, a.state, l.mode, l.relation::regclass FROM pg_locks l JOIN pg_stat_activity a USING (pid) ` +
		`JOIN pg_class c ON c.oid = l.relation WHERE l.granted AND c.relnamespace = '%s'::regnamespace;`
)

// errTried takes a trial back.
var errTried = errors.New("tried")

// Try does all that Record does, and takes it back: its error is the one that Record would have.
// The group must not move the watermark, and nothing may be on its way into the ledger meanwhile.
func (r *Run) Try(ctx context.Context, g *Group) error { return r.put(ctx, g, true) }

// undo ends a trial. What waits for the commit (deferred constraints) is looked at first.
func (r *Run) undo(ctx context.Context, tx pgx.Tx) error {
	if err := r.ledger.q.ConstraintsCheck(ctx, tx); err != nil {
		return err
	}
	return errTried
}

// NoteUnrecorded stores the end of the pages that this run sent and could not record, nil if
// those of an earlier one are recorded now. A run that lost its lease stores nothing.
func (r *Run) NoteUnrecorded(ctx context.Context, place *Watermark) error {
	p := queries.UnrecordedSetParams{Leases: r.leases, Holder: r.holder}
	if place != nil {
		p.UnrecordedAt, p.UnrecordedID = &place.At, place.ID
	}
	return r.ledger.writing().inTx(ctx, "noting what was not recorded", func(tx pgx.Tx) error {
		return r.ledger.q.UnrecordedSet(ctx, tx, p)
	})
}

// most is how many bytes of an id are kept in the key of loader_rejects: an index takes no more
// than 2,704, whatever is compressed.
const most = 1024

// rejectKey returns what a row's reject is kept under: its id, of one that no index takes the
// beginning and a hash of the whole.
func rejectKey(id string) string {
	if len(id) <= most {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	head := id[:most-len(mark)-hex.EncodedLen(len(sum))]
	for len(head) > 0 && !utf8.RuneStart(id[len(head)]) {
		head = head[:len(head)-1]
	}
	return head + mark + hex.EncodeToString(sum[:])
}

// mark stands between the beginning of an id and the hash of the whole.
const mark = "...sha256:"

// rejectedID returns the id of the row that is kept under a key. The row itself has the whole one.
func rejectedID(key string, interaction []byte) string {
	if !strings.Contains(key, mark) {
		return key
	}
	var row struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(interaction, &row); err != nil || rejectKey(row.ID) != key {
		return key
	}
	return row.ID
}

// Reaches reports whether the place is that one or lies beyond. Of two ids of the same moment
// only the database knows which comes first: then it does not.
func (w *Watermark) Reaches(place *Watermark) bool {
	if !w.At.Equal(place.At) {
		return w.At.After(place.At)
	}
	return place.ID == nil || w.ID != nil && *w.ID == *place.ID
}
