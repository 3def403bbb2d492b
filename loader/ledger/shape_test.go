package ledger

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write shape.txt anew")

// The shape is what the migrations make. After a change of them: go test ./loader/ledger -run TestShape -update
func TestShape_IsWhatTheMigrationsMake(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	var text string
	relations := "select array_agg(c.relname::text) from pg_class c where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'v')"
	err := b.ledger.inTx(t.Context(), "reading the shape", func(tx pgx.Tx) error {
		params := factsOf(b.id)
		if err := tx.QueryRow(t.Context(), relations, pgx.Identifier{b.id.Schema}.Sanitize()).Scan(&params.Relations); err != nil {
			return err
		}
		facts, err := b.ledger.q.DriftFacts(t.Context(), tx, params)
		text = shapeOf(facts).text()
		return err
	})
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile("shape.txt", []byte(text), 0o600))
		return
	}
	const remedy = "go test ./loader/ledger -run TestShape -update"
	for line := range strings.Lines(text) {
		require.Contains(t, shapeText, line, remedy)
	}
	require.Len(t, text, len(shapeText), remedy)
	found, err := b.ledger.Differences(t.Context())
	require.NoError(t, err)
	require.Empty(t, found)
}
