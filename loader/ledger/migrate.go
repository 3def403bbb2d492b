package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	migratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
	"github.com/candu-loader/candu-loader/migrations"
	"github.com/candu-loader/candu-loader/queries"
)

// versionTable is golang-migrate's own table in the schema.
const versionTable = "loader_schema_migrations"

// lockPatience is how long one loader waits for another one's migration.
const lockPatience = 2 * time.Minute

// readable is what the readers may see: the mirror and the views, not the
// ledger's own tables.
var readable = []string{"tracks", "tutorial_interaction", "screens", "tutorial_view", "tutorial_daily", "loader_freshness"}

// Migration says what Migrate did, or would do.
type Migration struct {
	Schema string `json:"schema"`
	// From and To are versions; 0 = the schema was not there.
	From int `json:"from"`
	To   int `json:"to"`
}

// Latest returns the version that this program's migrations lead to.
func Latest() (int, error) {
	versions, err := versions()
	if err != nil {
		return 0, err
	}
	return versions[len(versions)-1], nil
}

// Migrate creates the schema or brings it up to date, and grants the readers
// what they may read. Several loaders may call it at once: one works, the others wait.
//
// Each migration is one transaction together with its mark in the version table.
// If one fails, the schema is as it was at the version before, and the next call
// tries again; nobody ever has to clear a "dirty" mark by hand.
//
// It refuses, without a change, a schema that holds tables of somebody else, and
// one that a newer candu-loader has made.
func Migrate(ctx context.Context, url secret.URL, id Identity) (Migration, error) {
	done := Migration{Schema: id.Schema}
	m, err := openMigrator(ctx, url, id)
	if err != nil {
		return done, err
	}
	defer m.close()
	if err := m.lock(ctx); err != nil {
		return done, err
	}
	if err := m.prepare(ctx); err != nil {
		return done, err
	}
	if done.From, done.To, err = m.up(ctx); err != nil {
		return done, err
	}
	return done, m.settle(ctx)
}

// migrator is one direct connection that migrates one schema.
type migrator struct {
	id     Identity
	config *pgx.ConnConfig
	conn   *pgx.Conn
	q      *queries.Queries
}

func openMigrator(ctx context.Context, url secret.URL, id Identity) (*migrator, error) {
	config, err := postgres.ConnConfig(url, postgres.Options{Name: "warehouse", ApplicationName: "candu-loader migrate"})
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, postgres.Unreachable(ctx, err, "warehouse", url)
	}
	return &migrator{id: id, config: config, conn: conn, q: queries.New()}, nil
}

// close ends the session, and with it the lock.
func (m *migrator) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = m.conn.Close(ctx) // The session ends either way.
}

// lock waits for the loaders that are migrating the same schema.
func (m *migrator) lock(ctx context.Context) error {
	deadline := time.Now().Add(lockPatience)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		locked, err := m.q.MigrateTryLock(ctx, m.conn, m.id.Schema)
		if err != nil {
			return m.explain(err, "locking schema %q for migration", m.id.Schema)
		}
		if locked {
			return nil
		}
		if time.Now().After(deadline) {
			return fault.New(fault.Failed, "waiting for another migration of schema %q: none ended within %s", m.id.Schema, lockPatience).
				WithHint("Look for a session that holds an advisory lock: select * from pg_locks where locktype = 'advisory';")
		}
		select {
		case <-ctx.Done():
			return fault.Wrap(fault.Interrupted, ctx.Err(), "waiting for another migration of schema %q", m.id.Schema)
		case <-tick.C:
		}
	}
}

// look reads whose schema it is, and refuses one that is somebody else's.
func (m *migrator) look(ctx context.Context) (queries.SchemaLookRow, error) {
	look, err := m.q.SchemaLook(ctx, m.conn, pgx.Identifier{m.id.Schema}.Sanitize())
	if err != nil {
		return look, m.explain(err, "looking at schema %q", m.id.Schema)
	}
	schema := pgx.Identifier{m.id.Schema}.Sanitize()
	switch {
	case !look.Present && !look.MayCreate:
		return look, fault.New(fault.Precondition, "creating schema %q: role %q may not create schemas in database %q", m.id.Schema, look.Role, look.Database).
			WithHint("As a database owner: CREATE SCHEMA %s AUTHORIZATION %s;", schema, pgx.Identifier{look.Role}.Sanitize())
	case look.Present && !look.Ours && look.Strangers != "":
		return look, fault.New(fault.Precondition, "schema %q holds tables that candu-loader did not make: %s", m.id.Schema, look.Strangers).
			WithHint("Segment's own connector may own it. Choose another name in the config: `schema: %s_loader`.", m.id.Schema)
	}
	missing, err := m.q.RolesMissing(ctx, m.conn, m.id.Readers)
	if err != nil {
		return look, m.explain(err, "looking for the readers' roles")
	}
	if len(missing) > 0 {
		return look, fault.New(fault.Precondition, "granting to readers: no role %q", missing[0]).
			WithHint("CREATE ROLE %s; or take it out of warehouse.readers in the config.", pgx.Identifier{missing[0]}.Sanitize())
	}
	return look, nil
}

func (m *migrator) prepare(ctx context.Context) error {
	look, err := m.look(ctx)
	if err != nil || look.Present {
		return err
	}
	if _, err := m.conn.Exec(ctx, "create schema if not exists "+pgx.Identifier{m.id.Schema}.Sanitize()); err != nil {
		return m.explain(err, "creating schema %q", m.id.Schema)
	}
	return nil
}

// up runs the migrations that are missing.
func (m *migrator) up(ctx context.Context) (from, to int, err error) {
	config := m.config.Copy()
	// The startup parameter, because golang-migrate opens connections itself.
	// Exactly this schema: with public behind it, everything would land there if
	// the schema vanished.
	config.RuntimeParams["search_path"] = pgx.Identifier{m.id.Schema}.Sanitize()
	db := stdlib.OpenDB(*config)
	defer func() { _ = db.Close() }() // Nothing is lost: each migration committed.
	driver, err := migratepgx.WithInstance(db, &migratepgx.Config{MigrationsTable: versionTable, SchemaName: m.id.Schema})
	if err != nil {
		return 0, 0, m.explain(err, "opening the migrations of schema %q", m.id.Schema)
	}
	files, err := iofs.New(migrations.Files, ".")
	if err != nil {
		return 0, 0, fmt.Errorf("reading the embedded migrations: %w", err)
	}
	exact := &exactDriver{Driver: driver}
	mig, err := migrate.NewWithInstance("embedded", files, m.id.Schema, exact)
	if err != nil {
		return 0, 0, fmt.Errorf("preparing the migrations of schema %q: %w", m.id.Schema, err)
	}
	defer func() { _, _ = mig.Close() }()

	version, dirty, err := mig.Version()
	switch {
	case errors.Is(err, migrate.ErrNilVersion):
	case err != nil:
		return 0, 0, m.explain(err, "reading the version of schema %q", m.id.Schema)
	default:
		from = int(version)
	}
	if dirty {
		// We hold the lock, and a migration clears its mark in its own
		// transaction: so this one was rolled back.
		if from, err = previous(files, version); err != nil {
			return 0, 0, err
		}
		if err := mig.Force(forced(from)); err != nil {
			return 0, 0, m.explain(err, "clearing the mark of the migration that was rolled back in schema %q", m.id.Schema)
		}
	}
	latest, err := Latest()
	if err != nil {
		return 0, 0, err
	}
	if from > latest {
		return from, from, newer(m.id.Schema, from, latest)
	}
	// A signal waits for the file that is running: it is one transaction.
	stop := context.AfterFunc(ctx, func() { mig.GracefulStop <- true })
	defer stop()
	if err := mig.Up(); err != nil && !errors.Is(err, migrate.ErrNoChange) {
		return from, from, m.failed(exact.version, err)
	}
	if ctx.Err() != nil {
		return from, from, fault.Wrap(fault.Interrupted, ctx.Err(), "migrating schema %q", m.id.Schema)
	}
	return from, latest, nil
}

// failed says what a failed migration left behind: nothing.
func (m *migrator) failed(version int, err error) error {
	before := "not made"
	if previous, perr := previousOf(version); perr == nil && previous > 0 {
		before = "unchanged at version " + strconv.Itoa(previous)
	}
	e := m.explain(err, "migration %d of schema %q was rolled back, the schema is %s", version, m.id.Schema, before)
	return e
}

// settle writes the source's row and the readers' grants.
func (m *migrator) settle(ctx context.Context) error {
	l := &Ledger{id: m.id, q: m.q}
	err := pgx.BeginFunc(ctx, m.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "set local search_path to "+pgx.Identifier{m.id.Schema}.Sanitize()); err != nil {
			return err
		}
		namespace := m.id.Namespace
		if namespace == uuid.Nil {
			namespace = uuid.New()
		}
		if err := m.q.StateCreate(ctx, tx, queries.StateCreateParams{Nickname: m.id.Nickname, MessageNamespace: namespace}); err != nil {
			return err
		}
		row, err := m.q.StateGet(ctx, tx)
		if err != nil {
			return err
		}
		if err := l.verify(row.LoaderState); err != nil {
			return err
		}
		for _, revoke := range m.revokes(row.LoaderState.Readers) {
			if _, err := tx.Exec(ctx, revoke); err != nil {
				return err
			}
		}
		for _, grant := range m.grants(m.id.Readers) {
			if _, err := tx.Exec(ctx, grant); err != nil {
				return err
			}
		}
		return m.q.ReadersSet(ctx, tx, sortedReaders(m.id.Readers))
	})
	if err != nil {
		return m.explain(err, "settling schema %q", m.id.Schema)
	}
	return nil
}

func (m *migrator) version(ctx context.Context) (int, error) {
	var version int
	sql := "select coalesce(max(version), 0)::int from " + pgx.Identifier{m.id.Schema, versionTable}.Sanitize()
	if err := m.conn.QueryRow(ctx, sql).Scan(&version); err != nil {
		return 0, m.explain(err, "reading the version of schema %q", m.id.Schema)
	}
	return version, nil
}

func (m *migrator) explain(err error, format string, args ...any) error {
	err = bare(err)
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	e := &fault.Error{Kind: postgres.KindOf(err), Text: fmt.Sprintf(format, args...), Err: err}
	switch {
	case postgres.Denied(err):
		return e.WithHint("The loader's role must own schema %s and its tables, or a DBA runs what `candu-loader migrate --dry-run` prints.",
			pgx.Identifier{m.id.Schema}.Sanitize())
	case postgres.Code(err) == "08P01" || strings.Contains(err.Error(), "unsupported startup parameter"):
		e.Kind = fault.Precondition
		return e.WithHint("Migrations can't go through a transaction pooler: set warehouse.migrate_url to the server itself.")
	}
	return e
}

// bare returns the cause of golang-migrate's own error, which shows the whole file
// and has no Unwrap. It comes as a value and as a pointer.
func bare(err error) error {
	if file, ok := errors.AsType[database.Error](err); ok && file.OrigErr != nil {
		return file.OrigErr
	}
	if file, ok := errors.AsType[*database.Error](err); ok && file.OrigErr != nil {
		return file.OrigErr
	}
	return err
}

func newer(schema string, version, latest int) error {
	return fault.New(fault.Precondition, "schema %q is at version %d, this candu-loader knows %d", schema, version, latest).
		WithHint("A newer candu-loader made it: upgrade this one.")
}
