package source

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// A column that changes its type between two pages is not read as what it was.
func TestPage_NoticesAnotherType(t *testing.T) {
	t.Parallel()
	for column, change := range map[string]string{
		"tutorial_id": "alter table candu_interactions alter column tutorial_id type numeric(9,2)",
		"portal_id":   "alter table candu_interactions alter column portal_id type boolean using portal_id > 0",
		"user_id":     "alter table candu_interactions alter column user_id type bytea using user_id::bytea",
		"version_id":  "alter table candu_interactions drop column version_id; alter table candu_interactions add column version_id integer default 7",
		"occurred_at": "alter table candu_interactions alter column occurred_at type timestamp",
		"exported_at": "alter table candu_interactions alter column exported_at type timestamp",
		"id":          "alter table candu_interactions alter column id type integer",
	} {
		t.Run(column, func(t *testing.T) {
			t.Parallel()
			url := loadertest.Database(t)
			db := loadertest.Pool(t, url)
			export := loadertest.Export{Rows: 40}
			require.NoError(t, export.Create(t.Context(), db))
			require.NoError(t, export.Fill(t.Context(), db))
			s := open(t, url, "candu_interactions", 10)
			defer s.Close()
			page, err := s.Page(t.Context(), Cursor{})
			require.NoError(t, err)
			page, err = s.Page(t.Context(), page.Next) // Its description is remembered now.
			require.NoError(t, err)
			_, err = db.Exec(t.Context(), change)
			require.NoError(t, err)
			_, err = s.Page(t.Context(), page.Next)
			require.ErrorContains(t, err, column)
			require.ErrorContains(t, err, "is of another one now")
			_, err = s.ByID(t.Context(), []string{"1"})
			require.ErrorContains(t, err, column)
		})
	}
}
