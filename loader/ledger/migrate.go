package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
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

// terminateLimit is how long the ending of an interrupted migration may take.
const terminateLimit = 5 * time.Second

// Migration says what Migrate did, or would do.
type Migration struct {
	Schema string `json:"schema"`
	// From and To are versions; 0 = the schema was not there.
	From int `json:"from"`
	To   int `json:"to"`
	// Answers say what became of each answer that Migrate was given: "--moved: ...".
	Answers []string `json:"answers,omitempty"`
}

// MigrateOptions say how to migrate.
type MigrateOptions struct {
	// Create makes a schema where there is none, which is a deliberate act; else that is an error
	// with the cause [ErrAbsent].
	Create bool
	// NewNamespace says that the schema is a copy of another one, and is to send under ids of its
	// own. KeyRotated says that the write key is another one for the same source of Segment, Moved
	// that the schema, and not a copy of it, is elsewhere.
	NewNamespace, KeyRotated, Moved bool
	// SetStart says that reading is to begin at StartAt, as if the first run had begun there; nil =
	// the beginning.
	SetStart bool
	StartAt  *time.Time
}

// Migrate brings the schema up to date, or creates it if it may, and grants the readers what they
// may read. Several loaders may call it at once: one works, the others wait.
//
// Each migration is one transaction together with its mark in the version table.
// If one fails, the schema is as it was at the version before, and the next call
// tries again; nobody ever has to clear a "dirty" mark by hand. When ctx ends, the
// statement that runs or waits is ended and rolled back in the same way.
//
// It refuses, without a change, a schema that holds tables of somebody else, and
// one that a newer candu-loader has made.
func Migrate(ctx context.Context, url secret.URL, id Identity, opts MigrateOptions) (Migration, error) {
	done := Migration{Schema: id.Schema}
	m, err := openMigrator(ctx, url, id)
	if err != nil {
		return done, err
	}
	defer m.close()
	if err := m.lock(ctx); err != nil {
		return done, err
	}
	look, err := m.look(ctx)
	if err != nil {
		return done, err
	}
	if err := m.admit(ctx, opts); err != nil {
		return done, err
	}
	if !look.Present {
		if _, err := m.conn.Exec(ctx, "create schema if not exists "+m.schema); err != nil {
			return done, m.explain(err, "creating schema %q", m.id.Schema)
		}
	}
	if done.From, done.To, err = m.up(ctx); err != nil {
		return done, err
	}
	done.Answers, err = m.settle(ctx, opts)
	return done, err
}

// migrator is one direct connection that migrates one schema.
type migrator struct {
	id Identity
	// schema is its name, quoted.
	schema string
	config *pgx.ConnConfig
	conn   *pgx.Conn
	q      *queries.Queries
}

func openMigrator(ctx context.Context, url secret.URL, id Identity) (*migrator, error) {
	conn, config, err := postgres.Connect(ctx, url, postgres.Options{Name: "warehouse", ApplicationName: "candu-loader migrate"})
	if err != nil {
		return nil, err
	}
	return &migrator{id: id, schema: pgx.Identifier{id.Schema}.Sanitize(), config: config, conn: conn, q: queries.New()}, nil
}

// close ends the session, and with it the lock.
func (m *migrator) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = m.conn.Close(ctx) // The session ends either way.
}

// lock waits for the loaders that are migrating the same schema.
func (m *migrator) lock(ctx context.Context) error {
	for deadline := time.Now().Add(lockPatience); time.Now().Before(deadline); {
		locked, err := m.q.MigrateTryLock(ctx, m.conn, m.id.Schema)
		if err != nil {
			return m.explain(err, "locking schema %q for migration", m.id.Schema)
		}
		if locked {
			return nil
		}
		select {
		case <-ctx.Done():
			return fault.Wrap(fault.Interrupted, ctx.Err(), "waiting for another migration of schema %q", m.id.Schema)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fault.New(fault.Failed, "waiting for another migration of schema %q: it did not end within %s", m.id.Schema, lockPatience).
		WithHint("Look for a session that holds an advisory lock: select * from pg_locks where locktype = 'advisory';")
}

// look reads whose schema it is, and refuses one that is somebody else's.
func (m *migrator) look(ctx context.Context) (queries.SchemaLookRow, error) {
	look, err := m.q.SchemaLook(ctx, m.conn, m.schema)
	if err != nil {
		return look, m.explain(err, "inspecting schema %q", m.id.Schema)
	}
	switch {
	case !look.Present && !look.MayCreate:
		return look, fault.New(fault.Precondition, "creating schema %q: role %q may not create schemas in database %q", m.id.Schema, look.Role, look.Database).
			WithHint("As a database owner: CREATE SCHEMA %s AUTHORIZATION %s;", m.schema, pgx.Identifier{look.Role}.Sanitize())
	case look.Present && !look.Ours && look.Strangers != "":
		return look, fault.New(fault.Precondition, "schema %q holds tables that candu-loader did not create: %s", m.id.Schema, look.Strangers).
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

// admit refuses to make a schema unless that is wanted, and to give a new state, and with it new
// ids, to one that remembers what was sent.
func (m *migrator) admit(ctx context.Context, opts MigrateOptions) error {
	look, err := m.q.SchemaFind(ctx, m.conn, m.id.Schema)
	hasState, used := false, false
	if err == nil && look.Ours && look.Usable {
		err = pgx.BeginFunc(ctx, m.conn, func(tx pgx.Tx) error {
			_, err1 := tx.Exec(ctx, "set local search_path to "+m.schema)
			var err2, err3 error
			hasState, err2 = m.q.StatePresent(ctx, tx)
			if !hasState {
				used, err3 = m.q.SchemaUsed(ctx, tx)
			}
			return cmp.Or(err1, err2, err3)
		})
	}
	switch {
	case ctx.Err() != nil:
		return fault.Wrap(fault.Interrupted, context.Cause(ctx), "migrating schema %q", m.id.Schema)
	case err != nil:
		return m.explain(err, "inspecting schema %q", m.id.Schema)
	}
	missing := absence(m.id, look, hasState)
	switch {
	case !opts.Create || missing != nil && !errors.Is(missing, ErrAbsent):
		return missing
	case used && !hasState && m.id.Namespace == uuid.Nil:
		return fault.New(fault.Precondition, "giving schema %q a new state: its mirror or its runs say that events were sent, and loader_state is empty", m.id.Schema).
			WithHint("Restore loader_state: with another namespace everything would be sent again, under new ids. If you know the namespace, " +
				"write it into the config, `message_namespace: ...`, and migrate again: the runs then begin at the beginning, and find what the mirror has.")
	}
	return nil
}

// applied says from which version to which one the migrations went, and what kept them from
// going on.
type applied struct {
	from, to int
	err      error
}

// up applies the migrations that are missing. golang-migrate takes no context, so when ours ends
// its backend is ended from our own connection, whether it works, waits or is between two
// statements; closing the socket would let a statement that waits for a lock go on, and commit.
func (m *migrator) up(ctx context.Context) (from, to int, err error) {
	config := m.config.Copy()
	// The startup parameter, because golang-migrate opens connections itself.
	// Exactly this schema: with public behind it, everything would land there if
	// the schema vanished.
	config.RuntimeParams["search_path"] = m.schema
	var backend atomic.Uint32
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(_ context.Context, conn *pgx.Conn) error {
		backend.Store(conn.PgConn().PID())
		return nil
	}))
	db.SetMaxOpenConns(1)
	defer func() { _ = db.Close() }() // Nothing is lost: each migration committed.
	if err := db.PingContext(ctx); err != nil {
		return 0, 0, m.explain(err, "opening the migrations of schema %q", m.id.Schema)
	}

	ended := make(chan applied, 1)
	go func() { ended <- m.apply(db) }()
	select {
	case done := <-ended:
		return done.from, done.to, done.err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), terminateLimit)
	defer cancel()
	if _, err := m.q.BackendTerminate(ending, m.conn, int32(backend.Load())); err != nil {
		return 0, 0, m.explain(err, "ending the migration of schema %q", m.id.Schema)
	}
	select {
	case <-ended:
	case <-ending.Done():
	}
	return 0, 0, fault.Wrap(fault.Interrupted, context.Cause(ctx), "migrating schema %q", m.id.Schema)
}

// apply runs the files on a connection of golang-migrate's own.
func (m *migrator) apply(db *sql.DB) (done applied) {
	var driver exactDriver
	mig, err := m.library(db, &driver)
	if err != nil {
		return applied{err: err}
	}
	defer func() { _, _ = mig.Close() }()
	version, dirty, err := mig.Version()
	if err != nil && !errors.Is(err, migrate.ErrNilVersion) {
		return applied{err: m.explain(err, "reading the version of schema %q", m.id.Schema)}
	}
	done.from = int(version)
	if dirty {
		// We hold the lock, and a migration clears its mark in its own
		// transaction: so this one was rolled back.
		done.from = before(done.from)
		if err := mig.Force(cmp.Or(done.from, database.NilVersion)); err != nil {
			return applied{err: m.explain(err, "clearing the mark of the migration that was rolled back in schema %q", m.id.Schema)}
		}
	}
	done.to = done.from
	latest := Latest()
	if done.from > latest {
		done.err = newer(m.id.Schema, done.from, latest)
	} else if err := mig.Up(); err != nil && !errors.Is(err, migrate.ErrNoChange) {
		done.err = m.failed(driver.version, err)
	} else {
		done.to = latest
	}
	return done
}

// library prepares golang-migrate for the schema.
func (m *migrator) library(db *sql.DB, driver *exactDriver) (*migrate.Migrate, error) {
	plain, err := migratepgx.WithInstance(db, &migratepgx.Config{MigrationsTable: versionTable, SchemaName: m.id.Schema})
	if err != nil {
		return nil, m.explain(err, "opening the migrations of schema %q", m.id.Schema)
	}
	driver.Driver = plain
	files, err := iofs.New(migrations.Files, ".")
	if err != nil {
		return nil, fmt.Errorf("reading the embedded migrations: %w", err)
	}
	mig, err := migrate.NewWithInstance("embedded", files, m.id.Schema, driver)
	if err != nil {
		return nil, fmt.Errorf("preparing the migrations of schema %q: %w", m.id.Schema, err)
	}
	return mig, nil
}

// failed says what a failed migration left behind: nothing.
func (m *migrator) failed(version int, err error) error {
	state := "not created"
	if previous := before(version); previous > 0 {
		state = "unchanged at version " + strconv.Itoa(previous)
	}
	return m.explain(err, "migration %d of schema %q was rolled back, the schema is %s", version, m.id.Schema, state)
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
		return e.WithHint("The loader's role must own schema %s and its tables, or a DBA runs what `candu-loader migrate --dry-run` prints.", m.schema)
	case postgres.RefusesParameter(err):
		e.Kind = fault.Precondition
		return e.WithHint("Migrations can't go through a transaction pooler: set warehouse.migrate_url to the server itself.")
	}
	return e
}

// bare returns the cause of golang-migrate's own error, which shows the whole file
// and has no Unwrap. It comes as a value and as a pointer.
func bare(err error) error {
	if file, ok := errors.AsType[*database.Error](err); ok {
		return cmp.Or(file.OrigErr, err)
	}
	file, _ := errors.AsType[database.Error](err)
	return cmp.Or(file.OrigErr, err)
}

func newer(schema string, version, latest int) error {
	return fault.New(fault.Precondition, "schema %q is at version %d, this candu-loader knows %d", schema, version, latest).
		WithHint("A newer candu-loader created it: upgrade this one.")
}
