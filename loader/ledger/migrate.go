package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
	"github.com/candu-loader/candu-loader/migrations"
	"github.com/candu-loader/candu-loader/queries"
)

// versionTable is golang-migrate's own table in the schema.
const versionTable = "loader_schema_migrations"

// makeVersionTable makes it as golang-migrate does.
const makeVersionTable = "create table " + versionTable + " (version bigint not null primary key, dirty boolean not null)"

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
	// Patience is for how long tables are waited for that others have locked; 0 = a minute.
	Patience time.Duration
	StartAt  *time.Time
}

// Migrate brings the schema up to date, or creates it if it may, and grants the readers what they
// may read. Several loaders may call it at once: one works, the others wait.
//
// Each migration is one transaction together with its version.
// If one fails, the schema is as it was at the version before, and the next call
// tries again. When ctx ends, the statement that runs or waits is ended and rolled back in the same
// way. Nothing is kept in the session, so that a pooler may stand in between.
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
	m.patience = cmp.Or(opts.Patience, m.patience)
	if err := m.locked(ctx, func(tx pgx.Tx) error { return m.prepare(ctx, tx, opts) }); err != nil {
		return done, err
	}
	if done.From, done.To, err = m.up(ctx); err != nil {
		return done, err
	}
	done.Answers, err = m.settle(ctx, opts)
	return done, err
}

// migrator migrates one schema on one connection.
type migrator struct {
	id Identity
	// schema is its name, quoted.
	schema string
	pool   *pgxpool.Pool
	q      *queries.Queries
	// patience is for how long tables are waited for that others have locked, waited for how long they were.
	patience, waited time.Duration
}

func openMigrator(ctx context.Context, url secret.URL, id Identity) (*migrator, error) {
	pool, err := postgres.Open(ctx, url, postgres.Options{
		Name: "warehouse", ApplicationName: "candu-loader migrate", MaxConns: 1, SearchPath: []string{id.Schema},
	})
	if err != nil {
		return nil, err
	}
	return &migrator{id: id, schema: pgx.Identifier{id.Schema}.Sanitize(), pool: pool, q: queries.New(), patience: tablePatience}, nil
}

func (m *migrator) close() { m.pool.Close() }

// errTaken says that another loader has the lock.
var errTaken = errors.New("another migration is under way")

// locked runs fn in a transaction that has the lock of the schema's migrations, and waits for the
// loaders that have it.
func (m *migrator) locked(ctx context.Context, fn func(tx pgx.Tx) error) error {
	for deadline := time.Now().Add(lockPatience); time.Now().Before(deadline); {
		pause, began := 100*time.Millisecond, time.Now()
		var conn *pgconn.PgConn
		err := postgres.InTx(ctx, m.pool, "; set local lock_timeout to '"+lockTimeout+"'", func(tx pgx.Tx) error {
			conn = tx.Conn().PgConn()
			locked, err := m.q.MigrateTryLock(ctx, tx, m.id.Schema)
			switch {
			case err != nil:
				return m.explain(err, "locking schema %q for migration", m.id.Schema)
			case !locked:
				return errTaken
			}
			return fn(tx)
		})
		switch {
		case ctx.Err() != nil:
			ending(conn)
			return fault.Wrap(fault.Interrupted, context.Cause(ctx), "migrating schema %q", m.id.Schema)
		case err == nil:
			return nil
		case postgres.Locked(err):
			if m.waited += time.Since(began); m.waited > m.patience {
				return m.blocked(ctx, err)
			}
			pause, m.waited = lockPause, m.waited+lockPause
		case !errors.Is(err, errTaken):
			return m.explain(err, "migrating schema %q", m.id.Schema)
		}
		select {
		case <-ctx.Done():
			return fault.Wrap(fault.Interrupted, context.Cause(ctx), "waiting for another migration of schema %q", m.id.Schema)
		case <-time.After(pause):
		}
	}
	return fault.New(fault.Failed, "waiting for another migration of schema %q: it did not end within %s", m.id.Schema, lockPatience).
		WithHint("Look for a session that holds an advisory lock: select * from pg_locks where locktype = 'advisory';")
}

// ending waits until the server was told that a statement is not wanted any more: one that waits for
// a lock would keep others waiting behind it.
func ending(conn *pgconn.PgConn) {
	if conn == nil || !conn.IsClosed() {
		return
	}
	select {
	case <-conn.CleanupDone():
	case <-time.After(terminateLimit):
	}
}

// prepare makes the schema if it is not there and may be made.
func (m *migrator) prepare(ctx context.Context, tx pgx.Tx, opts MigrateOptions) error {
	look, err := m.look(ctx, tx)
	if err != nil {
		return err
	}
	if err := m.admit(ctx, tx, opts); err != nil {
		return err
	}
	var statements []string
	if !look.Present {
		statements = append(statements, "create schema "+m.schema)
	}
	if !look.Ours {
		statements = append(statements, makeVersionTable)
	}
	for _, statement := range statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return m.explain(err, "creating schema %q", m.id.Schema)
		}
	}
	return nil
}

// look reads whose schema it is, and refuses one that is somebody else's.
func (m *migrator) look(ctx context.Context, tx pgx.Tx) (queries.SchemaLookRow, error) {
	look, err := m.q.SchemaLook(ctx, tx, m.schema)
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
	missing, err := m.q.RolesMissing(ctx, tx, m.id.Readers)
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
func (m *migrator) admit(ctx context.Context, tx pgx.Tx, opts MigrateOptions) error {
	look, err := m.q.SchemaFind(ctx, tx, m.id.Schema)
	hasState, used := false, false
	if err == nil && look.Ours && look.Usable {
		hasState, err = m.q.StatePresent(ctx, tx)
		if err == nil && !hasState {
			used, err = m.q.SchemaUsed(ctx, tx)
		}
	}
	if err != nil {
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

// up applies the migrations that are missing, each in a transaction of its own.
func (m *migrator) up(ctx context.Context) (from, to int, err error) {
	from = -1
	for {
		driver := &exactDriver{ctx: ctx, q: m.q}
		err := m.locked(ctx, func(tx pgx.Tx) error {
			*driver = exactDriver{ctx: ctx, q: m.q, tx: tx} // It may be another try.
			return m.step(driver)
		})
		if from < 0 {
			from, to = driver.from, driver.from
		}
		if err != nil || driver.version == 0 {
			return from, to, err
		}
		to = driver.version
	}
}

// step applies the next migration, if there is one.
func (m *migrator) step(driver *exactDriver) error {
	if _, _, err := driver.Version(); err != nil {
		return m.explain(err, "reading the version of schema %q", m.id.Schema)
	}
	switch latest := Latest(); {
	case driver.from > latest:
		return newer(m.id.Schema, driver.from, latest)
	case driver.from == latest:
		return nil
	}
	files, err := iofs.New(migrations.Files, ".")
	if err != nil {
		return fmt.Errorf("reading the embedded migrations: %w", err)
	}
	mig, err := migrate.NewWithInstance("embedded", files, m.id.Schema, driver)
	if err != nil {
		return fmt.Errorf("preparing the migrations of schema %q: %w", m.id.Schema, err)
	}
	if err := mig.Steps(1); err != nil {
		return m.failed(driver.version, err)
	}
	return nil
}

// failed says what a failed migration left behind: nothing.
func (m *migrator) failed(version int, err error) error {
	state := "not created"
	if previous := before(version); previous > 0 {
		state = "unchanged at version " + strconv.Itoa(previous)
	}
	return m.explain(err, "migration %d of schema %q was rolled back, the schema is %s", version, m.id.Schema, state)
}

func (m *migrator) explain(err error, format string, args ...any) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	e := &fault.Error{Kind: postgres.KindOf(err), Text: fmt.Sprintf(format, args...), Err: postgres.Detailed(err), Hint: postgres.Hint(err)}
	if postgres.Denied(err) {
		return e.WithHint("The loader's role must own schema %s and its tables, or a DBA runs what `candu-loader migrate --dry-run` prints.", m.schema)
	}
	return e
}

func newer(schema string, version, latest int) error {
	return fault.New(fault.Precondition, "schema %q is at version %d, this candu-loader knows %d", schema, version, latest).
		WithHint("A newer candu-loader created it: upgrade this one.")
}
