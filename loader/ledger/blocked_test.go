package ledger

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// A migration that finds its tables locked lets go every few seconds, says who holds them in the end, and
// goes through once they are free.
func TestMigrate_TablesLocked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	latest := b.undoLatest(t)
	analyst, err := b.db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = analyst.Rollback(context.Background()) }()
	_, err = analyst.Exec(t.Context(), `set local application_name to 'the analyst''s'; lock table "Odd Name".loader_runs in access share mode`)
	require.NoError(t, err)
	var pid int
	require.NoError(t, analyst.QueryRow(t.Context(), "select pg_backend_pid()").Scan(&pid))

	_, err = Migrate(t.Context(), b.url, b.id, MigrateOptions{Create: true, Patience: time.Nanosecond})
	require.ErrorContains(t, err, `its tables were locked for`)
	require.ErrorContains(t, err, fmt.Sprintf(`"loader_runs" by pid %d, role "postgres", application "the analyst's", since 2`, pid))
	require.ErrorContains(t, err, "idle in transaction")
	require.Equal(t, fault.Failed, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), fmt.Sprintf("SELECT pg_terminate_backend(%d);", pid))
	plan, _, err := Plan(t.Context(), b.url, b.id)
	require.NoError(t, err)
	require.Equal(t, latest-1, plan.From, "it left nothing")

	ended := make(chan error, 1)
	go func() {
		_, err := Migrate(t.Context(), b.url, b.id, MigrateOptions{Create: true})
		ended <- err
	}()
	b.sessions(t, 1, "wait_event_type = 'Lock'")
	// Who comes behind it is not held up for longer than that.
	_, err = b.db.Exec(t.Context(), `select from "Odd Name".loader_runs`)
	require.NoError(t, err)
	require.NoError(t, analyst.Rollback(t.Context()))
	require.NoError(t, loadertest.Receive(t, ended, "the migration to go through"))
}

// A reader whose role was dropped, and that was then taken out of the config, kept every migration from ending.
func TestMigrate_ReaderWasDropped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	gone, stays := loadertest.Role(t, loadertest.Shared(t), "gone"), loadertest.Role(t, loadertest.Shared(t), "stays")
	b.id.Readers = []string{gone, stays}
	b.migrate(t)
	_, err := b.db.Exec(t.Context(), "drop owned by "+pgx.Identifier{gone}.Sanitize()+"; drop role "+pgx.Identifier{gone}.Sanitize())
	require.NoError(t, err)
	_, err = Migrate(t.Context(), b.url, b.id, MigrateOptions{})
	require.ErrorContains(t, err, `no role "`+gone)
	require.Contains(t, fault.HintOf(err), "take it out of warehouse.readers")
	b.id.Readers = nil
	_, err = Migrate(t.Context(), b.url, b.id, MigrateOptions{})
	require.NoError(t, err)
	require.Equal(t, "false", b.one(t, `select has_table_privilege('`+stays+`', '"Odd Name".screens', 'select')`))
}

// A page that finds the mirror locked says who holds it.
func TestLedger_TablesLocked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	analyst, err := b.db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = analyst.Rollback(context.Background()) }()
	_, err = analyst.Exec(t.Context(), `set local application_name to 'analyst'; lock table "Odd Name".screens in share mode`)
	require.NoError(t, err)
	err = New(b.db, b.id).writing().inTx(t.Context(), "recording", func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `set local lock_timeout to '50ms'; delete from screens`)
		return err
	})
	require.ErrorContains(t, err, `"screens" by pid `)
	require.ErrorContains(t, err, `application "analyst"`)
	require.Equal(t, fault.Retryable, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "SELECT pg_terminate_backend(")
}
