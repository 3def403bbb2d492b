package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/candu-loader/candu-loader/loader/fault"
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
}

// OpenReader is [Open] for a database that is only read. A statement that takes
// longer than timeout is ended by the server.
func OpenReader(ctx context.Context, url secret.URL, opts Options, timeout time.Duration) (*Reader, error) {
	config, err := pgxpool.ParseConfig(url.Reveal())
	if err != nil {
		return nil, badURL(url, opts)
	}
	prepare(config.ConnConfig, opts)
	config.MaxConns = opts.MaxConns
	if config.MaxConns == 0 {
		config.MaxConns = 2
	}
	limit := strconv.FormatInt(timeout.Milliseconds(), 10)
	config.ConnConfig.RuntimeParams["timezone"] = "UTC"
	direct := config.Copy()
	direct.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	direct.ConnConfig.RuntimeParams["statement_timeout"] = limit

	pool, err := connect(ctx, direct)
	if err == nil {
		return &Reader{pool: pool}, nil
	}
	if !refusesParameter(err) {
		return nil, Unreachable(ctx, err, opts.Name, url)
	}
	if pool, err = connect(ctx, config); err != nil {
		return nil, Unreachable(ctx, err, opts.Name, url)
	}
	return &Reader{
		pool:  pool,
		begin: "begin read only; set local statement_timeout = " + limit + "; set local timezone = 'UTC'",
	}, nil
}

// Pooled reports whether a pooler stands in between.
func (r *Reader) Pooled() bool { return r.begin != "" }

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

// connect opens a pool and makes its first connection.
func connect(ctx context.Context, config *pgxpool.Config) (*pgxpool.Pool, error) {
	config.MaxConnIdleTime = 5 * time.Minute
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		pool.Close()
		return nil, err
	}
	conn.Release()
	return pool, nil
}

// refusesParameter recognizes PgBouncer's "unsupported startup parameter".
func refusesParameter(err error) bool {
	return Code(err) == "08P01" || strings.Contains(err.Error(), "unsupported startup parameter")
}

func badURL(url secret.URL, opts Options) error {
	// The parser's error quotes the URL, so it is not wrapped.
	return fault.New(fault.Config, "parsing the %s URL %q: not a Postgres URL", opts.Name, url).
		WithHint("Expected postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full")
}
