package source

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// A column that changes between two pages is never read as what it was: the table is looked at again, and read on where
// whoever opens it now reads the same rows in the same order.
func TestPage_NoticesAnotherType(t *testing.T) {
	t.Parallel()
	const alter = "alter table candu_interactions alter column "
	for name, c := range map[string]struct {
		change string
		// ends is what the run ends with, "" if it goes on; kind is of that.
		ends string
		kind fault.Kind
	}{
		"tutorial_id numeric":  {change: alter + "tutorial_id type numeric(9,2)"},
		"tutorial_id text":     {change: alter + "tutorial_id type text using tutorial_id::text"},
		"version_id of before": {change: "alter table candu_interactions drop column version_id; alter table candu_interactions add column version_id integer default 7"},
		"user_id char":         {change: alter + "user_id type char(40)"},
		"id integer":           {change: alter + "id type integer"},
		"kind an enum":         {change: "create type what as enum ('view', 'interaction'); " + alter + "kind type what using kind::what"},
		"portal_id boolean":    {alter + "portal_id type boolean using portal_id > 0", `column "portal_id" (portal_id) is of type boolean, expected`, fault.Precondition},
		"user_id bytea":        {alter + "user_id type bytea using user_id::bytea", `column "user_id" (user_id) is of type bytea, expected`, fault.Precondition},
		"version_id gone":      {"alter table candu_interactions drop column version_id", `column "version_id" (version_id) is missing`, fault.Precondition},
		"kind gone":            {"alter table candu_interactions rename column kind to sort", `column "kind" (kind) is missing`, fault.Precondition},
		"id gone":              {"alter table candu_interactions rename column id to key", `column "id" (id) is missing`, fault.Precondition},
		"table gone":           {"alter table candu_interactions rename to elsewhere", "there is none in this database", fault.Precondition},
		"id text":              {alter + "id type text using id::text", "ids are in another order now", fault.Failed},
		"id uuid":              {alter + "id drop identity if exists, alter column id type uuid using gen_random_uuid()", "ids are in another order now", fault.Failed},
		"occurred_at no zone":  {alter + "occurred_at type timestamp", "times are with a time zone where they were without", fault.Failed},
		"exported_at no zone":  {alter + "exported_at type timestamp", "times are with a time zone where they were without", fault.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := loadertest.Database(t)
			db := loadertest.Pool(t, url)
			export := loadertest.Export{Rows: 40}
			require.NoError(t, export.Create(t.Context(), db))
			require.NoError(t, export.Fill(t.Context(), db))
			before := open(t, url, "candu_interactions", 10)
			defer before.Close()
			first, err := before.Page(t.Context(), Cursor{})
			require.NoError(t, err)
			page, err := before.Page(t.Context(), first.Next) // Its description is remembered now.
			require.NoError(t, err)
			_, err = db.Exec(t.Context(), c.change)
			require.NoError(t, err)

			if c.ends != "" {
				_, err = before.Page(t.Context(), page.Next)
				require.ErrorContains(t, err, c.ends)
				require.Equal(t, c.kind, fault.KindOf(err), err)
				_, err = before.ByID(t.Context(), []string{"1"})
				require.ErrorContains(t, err, c.ends)
				return
			}
			after := open(t, url, "candu_interactions", 10)
			defer after.Close()
			for range 3 {
				want, err := after.Page(t.Context(), page.Next)
				require.NoError(t, err)
				got, err := before.Page(t.Context(), page.Next)
				require.NoError(t, err)
				same(t, want, got)
				page = got
			}
			_, err = first.Object(0)
			require.NoError(t, err, "a page is of the table that it was read from")
			require.Equal(t, after.Table().Columns, before.Table().Columns)
		})
	}
}

// Whatever is read first after a change looks at the table again.
func TestRead_LooksAgain(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	export := loadertest.Export{Rows: 400}
	require.NoError(t, export.Create(t.Context(), db))
	require.NoError(t, export.Fill(t.Context(), db))
	r := Range{UpTo: At(time.Now().Add(time.Hour))}
	for name, read := range map[string]func(*Source) error{
		"keys":         func(s *Source) error { _, err := s.Keys(t.Context(), Cursor{}, time.Now()); return err },
		"settled page": func(s *Source) error { _, err := s.SettledPage(t.Context(), Cursor{}); return err },
		"newest":       func(s *Source) error { _, err := s.Newest(t.Context(), 10); return err },
		"by id":        func(s *Source) error { _, err := s.ByID(t.Context(), []string{"1", "x", "3"}); return err },
		"range": func(s *Source) error {
			reader, _, err := s.Range(t.Context(), r)
			require.NoError(t, err)
			_, err = reader.Next(t.Context())
			return err
		},
		"fingerprints": func(s *Source) error { return s.Fingerprints(t.Context(), r, Prints{}, func([]Fingerprint) {}) },
		"day":          func(s *Source) error { _, err := s.DayRows(t.Context(), r, Prints{}, nil, 10); return err },
		"settled":      func(s *Source) error { _, err := s.Settled(t.Context(), r, []string{"1"}); return err },
		"count":        func(s *Source) error { _, err := s.Count(t.Context(), Cursor{}); return err },
	} {
		s := open(t, url, "candu_interactions", 10)
		require.NoError(t, read(s), name)
		_, err := db.Exec(t.Context(), "alter table candu_interactions alter id type integer, alter tutorial_id type numeric")
		require.NoError(t, err)
		require.NoError(t, read(s), name)
		_, err = db.Exec(t.Context(), "alter table candu_interactions alter id type bigint, alter tutorial_id type integer")
		require.NoError(t, err)
		require.NoError(t, read(s), name)
		_, err = db.Exec(t.Context(), "alter table candu_interactions rename id to key")
		require.NoError(t, err)
		if name == "count" {
			require.NoError(t, read(s), "nothing of it is asked for")
		} else {
			require.ErrorContains(t, read(s), `column "id" (id) is missing`, name)
		}
		_, err = db.Exec(t.Context(), "alter table candu_interactions rename key to id")
		require.NoError(t, err)
		require.NoError(t, read(s), "it is there again: %s", name)
		s.Close()
	}
}

func same(t *testing.T, want, got *Page) {
	t.Helper()
	require.Equal(t, want.Rows, got.Rows)
	require.Equal(t, want.Next, got.Next)
	for i := range want.Rows {
		a, err := want.Object(i)
		require.NoError(t, err)
		b, err := got.Object(i)
		require.NoError(t, err)
		require.JSONEq(t, string(a), string(b))
	}
}
