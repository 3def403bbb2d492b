package source

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// A piece of keys is bounded in bytes, whatever page_size says and however long ids are, and
// the pieces cover every row before the moment once, in order.
func TestKeys_AreBoundedInBytes(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	for _, c := range []struct {
		table, idType, widen string
		rows, pageSize       int
		// pieces are how many rows each has.
		pieces []int
	}{
		{"as_the_page", "bigint", "", 12_000, 5_000, []int{5_000, 5_000, 2_000}},
		{"numbers", "bigint", "", 12_000, 50_000, []int{mostKeys, 12_000 - mostKeys}},
		{"uuids", "uuid", "", 12_000, 50_000, []int{mostKeys, 12_000 - mostKeys}},
		// Each of them takes 1,272 bytes.
		{"long_texts", "text", "update long_texts set id = rpad(id, 1000, 'x')", 3_000, 50_000, []int{1_649, 1_351}},
	} {
		t.Run(c.table, func(t *testing.T) {
			t.Parallel()
			export := loadertest.Export{Table: "public." + c.table, Rows: c.rows, IDType: c.idType}
			require.NoError(t, export.Create(t.Context(), db))
			require.NoError(t, export.Fill(t.Context(), db))
			_, err := db.Exec(t.Context(), c.widen)
			require.NoError(t, err)
			var want, got []string
			require.NoError(t, db.QueryRow(t.Context(), "select array_agg(id::text order by exported_at, id) from "+c.table).Scan(&want))
			s := open(t, url, c.table, c.pageSize)
			defer s.Close()
			var pieces []int
			for cursor := (Cursor{}); ; {
				keys, err := s.Keys(t.Context(), cursor, time.Now().Add(time.Hour))
				require.NoError(t, err)
				pieces = append(pieces, len(keys.Rows))
				for i := range keys.Rows {
					got = append(got, keys.Rows[i].ID)
				}
				if cursor = keys.Next; keys.Last {
					break
				}
			}
			require.Equal(t, c.pieces, pieces)
			require.Equal(t, want, got)
		})
	}
}
