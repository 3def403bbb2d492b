package postgres

import (
	"cmp"
	"context"
	"fmt"
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

// Reader reads a database that is not ours: read-only, in UTC, with a time limit for each statement.
// On a direct connection each statement stands for itself; behind a pooler every reading is a
// transaction that begins with the settings.
type Reader struct {
	pool   *pgxpool.Pool
	pooled bool
	// encoding is the database's.
	encoding string
}

// OpenReader is [Open] for a database that is only read.
func OpenReader(ctx context.Context, url secret.URL, opts Options) (*Reader, error) {
	opts.MaxConns, opts.ReadOnly = cmp.Or(opts.MaxConns, 2), true
	pool, pooled, err := open(ctx, url, opts)
	if err != nil {
		return nil, err
	}
	r := &Reader{pool: pool, pooled: pooled}
	err = pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) (err error) {
		r.encoding, err = encodingOf(ctx, conn.Conn())
		return err
	})
	if err != nil {
		pool.Close()
		return nil, Unreachable(ctx, err, opts.Name, url)
	}
	return r, nil
}

// Encoding returns that of the database, as Postgres calls it.
func (r *Reader) Encoding() string { return r.encoding }

// Pooled reports whether a pooler stands in between.
func (r *Reader) Pooled() bool { return r.pooled }

// Role returns the name of the role that connects.
func (r *Reader) Role() string { return r.pool.Config().ConnConfig.User }

// Close closes the connections.
func (r *Reader) Close() { r.pool.Close() }

// Read runs fn on one connection. Each statement sees what was committed before
// it; fn must not keep db.
func (r *Reader) Read(ctx context.Context, fn func(db DB) error) error { return Read(ctx, r.pool, fn) }

// InTx is Read in a transaction that begins with more settings: "set local ...".
func (r *Reader) InTx(ctx context.Context, set string, fn func(db DB) error) error {
	return InTx(ctx, r.pool, "; "+set, func(tx pgx.Tx) error { return fn(tx) })
}

// Read runs fn on one of a pool's connections, in a transaction if a pooler stands in between. fn must
// not keep db.
func Read(ctx context.Context, pool *pgxpool.Pool, fn func(db DB) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Release()
	if begin, pooled := begin(conn.Conn().PgConn()); pooled {
		return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{BeginQuery: begin}, func(tx pgx.Tx) error { return fn(tx) })
	}
	return fn(conn)
}

// Pooled reports whether a pooler stands in front of a database.
func Pooled(ctx context.Context, pool *pgxpool.Pool) (pooled bool) {
	_ = pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error { // Who can't connect learns it elsewhere.
		_, pooled = begin(conn.Conn().PgConn())
		return nil
	})
	return pooled
}

// InTx runs fn in a transaction on one of a pool's connections. set, "; set local ..." or "", is what
// else it begins with, in the same round trip. fn must not keep tx.
func InTx(ctx context.Context, pool *pgxpool.Pool, set string, fn func(tx pgx.Tx) error) error {
	return InTxWatched(ctx, pool, set, nil, fn)
}

// WatchEvery is how often a transaction that goes on is looked at.
const WatchEvery = 10 * time.Second

// InTxWatched is InTx, of which watch is called every [WatchEvery] until it ends, with the number of the server's process, 0
// if a pooler hides it.
func InTxWatched(ctx context.Context, pool *pgxpool.Pool, set string, watch func(ctx context.Context, pid uint32), fn func(tx pgx.Tx) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	begin, pooled := begin(conn.Conn().PgConn())
	if watch != nil {
		pid := conn.Conn().PgConn().PID()
		if pooled {
			pid = 0
		}
		defer watching(ctx, func(ctx context.Context) { watch(ctx, pid) })()
	}
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{BeginQuery: begin + set}, fn)
}

// watching calls look every [WatchEvery] until it is stopped, which ends a look too.
func watching(ctx context.Context, look func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(WatchEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				look(ctx)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
