package ledger

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// The texts that are read from the migrations are those that the database has.
func TestRelations_AsInTheDatabase(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	want := map[string]string{}
	require.NoError(t, b.ledger.inTx(t.Context(), "looking", func(tx pgx.Tx) error {
		rows, err := tx.Query(t.Context(), `
			select c.relname || coalesce('.' || a.attname, ''), coalesce(col_description(c.oid, a.attnum), obj_description(c.oid))
			from pg_class c
			cross join lateral (
				select null as attname, null as attnum union all
				select attname, attnum from pg_attribute where attrelid = c.oid and attnum > 0
			) a
			where c.relnamespace = '"Odd Name"'::regnamespace and c.relkind in ('r', 'v')`)
		if err != nil {
			return err
		}
		var name, text string
		_, err = pgx.ForEachRow(rows, []any{&name, &text}, func() error {
			want[name] = text
			return nil
		})
		return err
	}))
	relations, err := Relations()
	require.NoError(t, err)
	got := map[string]string{}
	for _, relation := range relations {
		got[relation.Name] = relation.Comment
		for _, column := range relation.Columns {
			got[relation.Name+"."+column.Name] = column.Comment
		}
	}
	require.Equal(t, want, got)
}
