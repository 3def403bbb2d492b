package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
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
		where schemaname = 'Odd Name' and tablename <> 'loader_schema_migrations'`)
	locker, err := b.db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = locker.Rollback(context.Background()) }()
	_, err = locker.Exec(t.Context(), "lock table "+tables+" in access exclusive mode")
	require.NoError(t, err)

	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := Migrate(ctx, b.url, b.id)
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

	done, err := Migrate(t.Context(), b.url, b.id)
	require.NoError(t, err)
	require.Equal(t, Migration{Schema: "Odd Name", From: latest - 1, To: latest}, done)
	require.Equal(t, whole, b.one(t, shape))
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
