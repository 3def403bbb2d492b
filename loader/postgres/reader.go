package postgres

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/candu-loader/candu-loader/loader/secret"
)

// DB is what a statement needs: a connection, a pool or a transaction.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Reader reads a database that is not ours: read-only, in UTC, with a time
// limit for each statement.
//
// On a direct connection these are defaults of the session, which cost
// nothing. A pooler refuses them at start-up; then every reading is a
// transaction that begins by setting them.
type Reader struct {
	pool  *pgxpool.Pool
	begin string // "" on a direct connection
	// encoding is the database's.
	encoding string
}

// OpenReader is [Open] for a database that is only read. A statement that takes
// longer than timeout is ended by the server.
func OpenReader(ctx context.Context, url secret.URL, opts Options, timeout time.Duration) (*Reader, error) {
	opts.MaxConns = cmp.Or(opts.MaxConns, 2)
	config, err := poolConfig(url, opts)
	if err != nil {
		return nil, err
	}
	return openReader(ctx, config, url, opts, timeout, UTF8)
}

// openReader opens a reader with an encoding for the client. In a database in SQL_ASCII, where nothing is
// converted, it is that, for Postgres refuses each text that is not in the client's.
func openReader(ctx context.Context, config *pgxpool.Config, url secret.URL, opts Options, timeout time.Duration, encoding string) (*Reader, error) {
	limit := strconv.FormatInt(timeout.Milliseconds(), 10)
	plain := config.Copy()
	config.ConnConfig.RuntimeParams["timezone"] = "UTC"
	config.ConnConfig.RuntimeParams["client_encoding"] = encoding
	pool, pooled, err := connect(ctx, config, map[string]string{"default_transaction_read_only": "on", "statement_timeout": limit})
	begin := ""
	if pooled {
		begin = "begin read only; set local statement_timeout = " + limit + "; set local timezone = 'UTC'; set local client_encoding = '" + encoding + "'"
	}
	if err != nil {
		return nil, Unreachable(ctx, err, opts.Name, url)
	}
	r := &Reader{pool: pool, begin: begin}
	err = pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) (err error) {
		r.encoding, err = encodingOf(ctx, conn.Conn())
		return err
	})
	switch {
	case err != nil:
		pool.Close()
		return nil, Unreachable(ctx, err, opts.Name, url)
	case r.encoding == SQLASCII && encoding != SQLASCII:
		pool.Close()
		return openReader(ctx, plain, url, opts, timeout, SQLASCII)
	}
	return r, nil
}

// Encoding returns that of the database, as Postgres calls it.
func (r *Reader) Encoding() string { return r.encoding }

// Pooled reports whether a pooler stands in between.
func (r *Reader) Pooled() bool { return r.begin != "" }

// Role returns the name of the role that connects.
func (r *Reader) Role() string { return r.pool.Config().ConnConfig.User }

// Close closes the connections.
func (r *Reader) Close() { r.pool.Close() }

// Read runs fn on one connection. Each statement sees what was committed before
// it; fn must not keep db.
func (r *Reader) Read(ctx context.Context, fn func(db DB) error) error {
	if r.begin != "" {
		return pgx.BeginTxFunc(ctx, r.pool, pgx.TxOptions{BeginQuery: r.begin}, func(tx pgx.Tx) error { return fn(tx) })
	}
	conn, err := r.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Release()
	return fn(conn)
}
