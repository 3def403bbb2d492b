package source

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/postgres"
)

// Key is what a row's messageId is made of, and the row's place in the order.
type Key struct {
	ID                     string
	ExportedAt, OccurredAt time.Time
}

// Keys is a piece of the export in the order of (exported_at, id), of whose rows the
// keys were read.
type Keys struct {
	Keys []Key
	// Next is where the next piece begins: the last row's cursor, or the one asked for
	// if there was no row.
	Next Cursor
	// Last is true if there was no further row before the moment.
	Last bool
}

const (
	// keyOverhead is what a key, and the messageId that is made of it, take beside the id.
	keyOverhead = 160
	// mostKeys is how many keys [PageBytes] hold, if their ids are no longer than UUIDs. To ask
	// for more of them would be to throw some away.
	mostKeys = PageBytes / (keyOverhead + 36)
)

// Keys reads the keys of the rows after from that were exported before a moment: where the
// mirror has them, nobody needs the rest, and that is most of the reading. There are at
// most page_size, which take at most about [PageBytes].
func (s *Source) Keys(ctx context.Context, from Cursor, before time.Time) (*Keys, error) {
	var keys *Keys
	limit := min(s.config.PageSize, mostKeys)
	err := s.retry(ctx, func(ctx context.Context) error {
		return s.reader.Read(ctx, func(db postgres.DB) (err error) {
			keys, err = s.keys(ctx, db, from, before, limit)
			if postgres.TooSlow(err) {
				limit = max(minLimit, limit/2)
			}
			return wrap(err, s.config.Spec, "reading keys")
		})
	})
	return keys, err
}

func (s *Source) keys(ctx context.Context, db postgres.DB, from Cursor, before time.Time, limit int) (*Keys, error) {
	sql, args := s.table.keysSelect(from, before)
	keys := &Keys{Keys: make([]Key, 0, limit), Next: from}
	bytes := 0
	err := s.scan(ctx, db, sql, append(args, limit), func(rows pgx.Rows) (more bool, err error) {
		keys.Keys = append(keys.Keys, Key{})
		key := &keys.Keys[len(keys.Keys)-1]
		err = rows.Scan((*text)(&key.ID), (*moment)(&key.ExportedAt), (*moment)(&key.OccurredAt))
		bytes += keyOverhead + len(key.ID)
		return bytes < PageBytes, err
	})
	if err != nil {
		return nil, err
	}
	if n := len(keys.Keys); n > 0 {
		keys.Next = keys.After(n)
	}
	keys.Last = len(keys.Keys) < limit && bytes < PageBytes
	return keys, nil
}

// After returns the cursor after the first n of the keys, at least one.
func (k *Keys) After(n int) Cursor { return After(k.Keys[n-1].ExportedAt, k.Keys[n-1].ID) }
