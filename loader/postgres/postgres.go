// Package postgres is the one place that opens connections and that reads
// SQLSTATEs. It alone decides what a connection sets for itself, see wishes. Its pools work behind a
// transaction-pooling PgBouncer, and send no named prepared statement.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// ConnectTimeout bounds each attempt to reach a server, TLS handshake and
// authentication included.
const ConnectTimeout = 10 * time.Second

// Options says what a pool is for.
type Options struct {
	// Name is what the pool is called in errors: "warehouse", "export".
	Name string
	// ApplicationName shows in pg_stat_activity; default "candu-loader".
	ApplicationName string
	// MaxConns bounds the connections; 0 means 4.
	MaxConns int32
	// SearchPath are the schemas in which names are looked for; none = pg_catalog alone.
	SearchPath []string
	// StatementTimeout is how long the server works on one statement; 0 = as long as it takes.
	StatementTimeout time.Duration
	// ReadOnly makes every transaction read-only.
	ReadOnly bool
	// Again has a server that restarts waited for, [RetryFor] at most, and is told of each try; nil = such
	// a server is an error like any other.
	Again func(err error, wait time.Duration)
}

// Open returns a pool and proves that the server answers. A server that does
// not, or refuses the login, is a [fault.Precondition] with the remedy; so is a database that is
// not in UTF8.
func Open(ctx context.Context, url secret.URL, opts Options) (*pgxpool.Pool, error) {
	pool, _, err := open(ctx, url, opts)
	if err != nil {
		return nil, err
	}
	err = pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error { return needUTF8(ctx, conn.Conn(), opts.Name) })
	if err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// open is Open; pooled is true if a pooler stands in between.
func open(ctx context.Context, url secret.URL, opts Options) (pool *pgxpool.Pool, pooled bool, err error) {
	config, err := poolConfig(url, opts)
	if err != nil {
		return nil, false, err
	}
	wishes := wishesOf(opts)
	config.AfterConnect = wishes.settle
	err = whileRestarting(ctx, config.ConnConfig, opts.Again, wishes, func() (err error) {
		pool, err = pgxpool.NewWithConfig(ctx, config)
		if err != nil {
			return err
		}
		err = pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
			_, pooled = begin(conn.Conn().PgConn())
			return nil
		})
		if err != nil {
			pool.Close()
		}
		return err
	})
	if err != nil {
		return nil, false, Unreachable(ctx, err, opts.Name, url)
	}
	return pool, pooled, nil
}

func poolConfig(url secret.URL, opts Options) (*pgxpool.Config, error) {
	if err := usable(url, opts); err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(url.Reveal())
	if err != nil {
		return nil, badURL(opts)
	}
	prepare(config.ConnConfig, opts)
	config.MaxConns = cmp.Or(opts.MaxConns, 4)
	config.MaxConnIdleTime = 5 * time.Minute
	return config, nil
}

func prepare(config *pgx.ConnConfig, opts Options) {
	tidy(config.RuntimeParams)
	// Describes a statement once per connection and then sends it unnamed:
	// named statements break behind PgBouncer in transaction mode.
	config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	if config.ConnectTimeout == 0 || config.ConnectTimeout > ConnectTimeout {
		config.ConnectTimeout = ConnectTimeout
	}
	if _, set := config.RuntimeParams["application_name"]; !set {
		config.RuntimeParams["application_name"] = cmp.Or(opts.ApplicationName, "candu-loader")
	}
}

// Unreachable makes of an error of connecting the precondition that it is.
func Unreachable(ctx context.Context, err error, name string, url secret.URL) error {
	if ctx.Err() != nil {
		return fault.Wrap(fault.Interrupted, ctx.Err(), "connecting to the %s database", name)
	}
	e := &fault.Error{
		Kind: fault.Precondition,
		Text: fmt.Sprintf("connecting to the %s database %q", name, Place(url)),
		Err:  cause(err, url),
	}
	to := someone
	if config, err := pgconn.ParseConfig(url.Reveal()); err == nil {
		to = loginBy(config)
	}
	return e.WithHint("%s", connectHint(err, to))
}

// cause shortens pgx's error: it repeats host, user and database, and says
// everything once for each address and once more for the try without TLS.
func cause(err error, url secret.URL) error {
	var connect *pgconn.ConnectError
	if !errors.As(err, &connect) || connect.Unwrap() == nil {
		return err
	}
	var lines []string
	quiet := !isTLS(decisive(err)) // That TLS was refused is of no interest then.
	for line := range strings.Lines(connect.Unwrap().Error()) {
		line = strings.TrimSpace(line)
		if quiet && strings.Contains(line, "server refused TLS connection") {
			continue
		}
		for _, noise := range []string{": dial error: ", ": server error: "} {
			if _, rest, found := strings.Cut(line, noise); found {
				line = rest
			}
		}
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	said := strings.Join(lines, "; ")
	if Code(err) != "" {
		said = unquoted(said, url)
	}
	return errors.New(said)
}
