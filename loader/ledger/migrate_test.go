package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/secret"
	"github.com/candu-loader/candu-loader/migrations"
)

// A migration that is interrupted while its statement waits for a lock ends at once and leaves
// nothing, not even a statement that goes on once the lock is free.
func TestMigrate_Interrupted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	const shape = `select string_agg(concat_ws('.', c.relname, a.attname, a.atttypid, a.atthasdef), ',' order by c.relname, a.attname)
		from pg_class c left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
		where c.relnamespace = '"Odd Name"'::regnamespace`
	whole := b.one(t, shape)
	latest := b.undoLatest(t)
	before := b.one(t, shape)
	require.NotEqual(t, whole, before)

	tables := b.one(t, `select string_agg(format('%I.%I', schemaname, tablename), ', ') from pg_tables
		where schemaname = 'Odd Name' and tablename not in ('loader_schema_migrations', 'loader_state')`)
	locker, err := b.db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = locker.Rollback(context.Background()) }()
	_, err = locker.Exec(t.Context(), "lock table "+tables+" in access exclusive mode")
	require.NoError(t, err)

	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := Migrate(ctx, b.url, b.id, MigrateOptions{Create: true})
		ended <- err
	}()
	b.sessions(t, 1, "wait_event_type = 'Lock'")
	cancel(errors.New("signal: terminated"))
	err = loadertest.Receive(t, ended, "the interrupted migration to end, although the lock is held")
	require.EqualError(t, err, `migrating schema "Odd Name": signal: terminated`)
	require.Equal(t, fault.Interrupted, fault.KindOf(err))
	b.sessions(t, 0, "true")
	require.NoError(t, locker.Rollback(t.Context()))
	require.Equal(t, before, b.one(t, shape))

	done, err := Migrate(t.Context(), b.url, b.id, MigrateOptions{Create: true})
	require.NoError(t, err)
	require.Equal(t, Migration{Schema: "Odd Name", From: latest - 1, To: latest}, done)
	require.Equal(t, whole, b.one(t, shape))
}

// Without being told to, nobody makes a schema, and not even then new ids for one that sent something.
func TestMigrate_MakesASchemaOnPurpose(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := Migrate(t.Context(), b.url, b.id, MigrateOptions{})
	require.ErrorIs(t, err, ErrAbsent)
	var made bool
	require.NoError(t, b.db.QueryRow(t.Context(), `select exists (select from pg_namespace where nspname = 'Odd Name')`).Scan(&made))
	require.False(t, made)

	b.migrate(t)
	namespace := b.one(t, "select message_namespace from loader_state")
	b.exec(t, "truncate loader_state")
	b.migrate(t) // Nothing was sent with it.
	require.NotEqual(t, namespace, b.one(t, "select message_namespace from loader_state"))
	namespace = b.one(t, "select message_namespace from loader_state")

	b.exec(t, "insert into screens (id) values ('x'); truncate loader_state")
	_, err = Migrate(t.Context(), b.url, b.id, MigrateOptions{})
	require.ErrorIs(t, err, ErrAbsent)
	_, err = Migrate(t.Context(), b.url, b.id, MigrateOptions{Create: true})
	require.ErrorContains(t, err, "its mirror or its runs say that events were sent, and loader_state is empty")
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.Equal(t, "0", b.one(t, "select count(*) from loader_state"))

	b.id.Namespace = uuid.MustParse(namespace)
	b.migrate(t)
	require.Equal(t, namespace, b.one(t, "select message_namespace from loader_state"))
}

// A schema that the role may not use looks as if it were empty.
func TestOpenRun_ASchemaThatTheRoleMayNotUse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	role := loadertest.Role(t, loadertest.Shared(t), "login")
	u, err := url.Parse(b.url.Reveal())
	require.NoError(t, err)
	query := u.Query()
	query.Set("user", role)
	u.RawQuery = query.Encode()
	_, err = New(loadertest.Pool(t, u.String()), b.id).OpenRun(t.Context(), RunOptions{Kind: Manual})
	require.ErrorContains(t, err, `role "`+role+`" may not use it`)
	require.NotErrorIs(t, err, ErrAbsent)
	require.Contains(t, fault.HintOf(err), `GRANT USAGE ON SCHEMA "Odd Name" TO "`+role+`"`)
	_, err = Migrate(t.Context(), secret.URL(u.String()), b.id, MigrateOptions{Create: true})
	require.ErrorContains(t, err, `role "`+role+`" may not use it`)
}

// undoLatest takes the latest migration back, and returns its number.
func (b *testBundle) undoLatest(t *testing.T) int {
	t.Helper()
	latest := Latest()
	names, err := fs.Glob(migrations.Files, fmt.Sprintf("%06d_*.down.sql", latest))
	require.NoError(t, err)
	require.Len(t, names, 1)
	down, err := fs.ReadFile(migrations.Files, names[0])
	require.NoError(t, err)
	b.exec(t, string(down))
	b.exec(t, fmt.Sprintf("update loader_schema_migrations set version = %d", latest-1))
	return latest
}

// sessions waits until so many sessions of a migration are in a state.
func (b *testBundle) sessions(t *testing.T, want int, state string) {
	t.Helper()
	sql := "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'candu-loader migrate' and " + state
	loadertest.Eventually(t, func() bool {
		var n int
		return b.db.QueryRow(t.Context(), sql).Scan(&n) == nil && n == want
	}, "%d sessions of a migration with %s", want, state)
}

// What the dry run prints is all of it: somebody else may run it, and migrate goes on with what it made.
func TestPlan_IsWhatMigrateDoes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, sql, err := Plan(t.Context(), b.url, b.id)
	require.NoError(t, err)
	b.exec(t, sql)
	done, err := Migrate(t.Context(), b.url, b.id, MigrateOptions{Create: true})
	require.NoError(t, err)
	require.Equal(t, []int{Latest(), Latest()}, []int{done.From, done.To})
	finish(t, b.open(t), End{Status: RunSucceeded})
	plan, _, err := Plan(t.Context(), b.url, b.id)
	require.NoError(t, err)
	require.Equal(t, plan.From, plan.To)
}

// What can't pass has the remedy that it has elsewhere.
func TestMigrate_ThroughAPoolerOfStatements(t *testing.T) {
	t.Parallel()
	err := (&migrator{}).explain(&pgconn.PgError{Code: "08P01", Message: "transaction blocks not allowed in statement pooling mode"}, "inspecting")
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "pool_mode = transaction")
}
