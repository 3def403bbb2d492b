package ledger

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/queries"
)

// Where the role may not ask for the system identifier, the database alone tells places apart.
func TestHere_WithoutTheRightToAsk(t *testing.T) {
	t.Parallel()
	b := setup(t)
	u, err := url.Parse(b.url.Reveal())
	require.NoError(t, err)
	query := u.Query()
	query.Set("user", loadertest.Role(t, loadertest.Shared(t), "asker"))
	u.RawQuery = query.Encode()
	pool := loadertest.Pool(t, u.String())
	known, err := here(t.Context(), pool)
	require.NoError(t, err)
	require.NotEmpty(t, known.System)
	_, err = b.db.Exec(t.Context(), "revoke execute on function pg_control_system() from public")
	require.NoError(t, err)
	at, err := here(t.Context(), pool)
	require.NoError(t, err)
	require.Equal(t, Place{Database: known.Database}, at)

	stored := func(system, database string) queries.LoaderState {
		return queries.LoaderState{Nickname: b.id.Nickname, PlaceSystem: &system, PlaceDatabase: &database}
	}
	require.NoError(t, b.id.confirm(stored(known.System, known.Database), at))
	require.NoError(t, b.id.confirm(stored("4711", known.Database), at), "nobody can tell")
	require.Error(t, b.id.confirm(stored("4711", known.Database), known))
	require.ErrorContains(t, b.id.confirm(stored(known.System, "elsewhere"), at), `it was in database "elsewhere" of server `+known.System+`, and is now in database "`+known.Database+`"`)
}
