package ledger

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// Who takes over ends what the holder before has begun, and nobody else's: neither that of another
// lease's holder, nor of the same one while its lease lasts.
func TestOpenRun_EndsWhatIsLeftOfTheHolderBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	begun := func(kind RunKind) (*Run, pgx.Tx) {
		r, err := b.ledger.OpenRun(t.Context(), RunOptions{Kind: kind})
		require.NoError(t, err)
		tx, err := b.db.BeginTx(t.Context(), pgx.TxOptions{BeginQuery: "begin" + r.ledger.ask})
		require.NoError(t, err)
		t.Cleanup(func() { _ = tx.Rollback(t.Context()) })
		return r, tx
	}
	first, left := begun(Manual)
	_, beside := begun(Backfill)
	_, err := b.ledger.OpenRun(t.Context(), RunOptions{Kind: Manual, Holder: "another"})
	require.ErrorContains(t, err, first.holder)
	_, err = left.Exec(t.Context(), "select")
	require.NoError(t, err, "its lease lasts")

	b.exec(t, "update loader_leases set expires_at = clock_timestamp() - interval '1 s'")
	_, err = b.ledger.OpenRun(t.Context(), RunOptions{Kind: Manual})
	require.NoError(t, err)
	_, err = left.Exec(t.Context(), "select")
	require.Error(t, err, "its session is ended")
	_, err = beside.Exec(t.Context(), "select")
	require.NoError(t, err)
}
