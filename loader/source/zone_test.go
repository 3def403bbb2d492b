package source

import (
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/secret"
)

func inZone(t *testing.T, url, zone string, pageSize int) *Source {
	t.Helper()
	s, err := Open(t.Context(), Config{
		URL: secret.URL(url), PageSize: pageSize, Log: slog.New(slog.DiscardHandler),
		Spec: Spec{Schema: "public", Table: "candu_interactions", Zone: zone},
	})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// bare is an export whose times have no zone, around both changes of clocks in New York in 2026.
func bare(t *testing.T) (url string) {
	t.Helper()
	url = loadertest.Database(t)
	db := loadertest.Pool(t, url)
	require.NoError(t, loadertest.Export{}.Create(t.Context(), db))
	execute(t, db, `
		alter table candu_interactions alter exported_at type timestamp, alter occurred_at type timestamp;
		create index on candu_interactions (occurred_at, id);
		insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at)
		select n, 'view', 'u', 1, x, x from (
			select row_number() over () as n, x from (
				select generate_series('2026-11-01 00:00'::timestamp, '2026-11-01 03:00', '7 minutes') as x
				union all select generate_series('2026-11-01 00:00'::timestamp, '2026-11-01 03:00', '10 minutes')
				union all select generate_series('2026-03-08 01:00'::timestamp, '2026-03-08 01:59', '10 minutes')
				union all select generate_series('2026-03-08 03:00'::timestamp, '2026-03-08 04:00', '10 minutes')
				union all select generate_series('2026-06-30 23:00'::timestamp, '2026-07-01 01:00', '30 minutes')
			) as times
		) as rows`)
	return url
}

// Times without a zone are what Postgres makes of them, in pages, ranges, counts and fingerprints alike.
func TestZone_IsPostgresBusiness(t *testing.T) {
	t.Parallel()
	url := bare(t)
	db := loadertest.Pool(t, url)
	for _, zone := range []string{"", "UTC", "America/New_York", "Asia/Kolkata", "Europe/Lisbon"} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			name := zone
			if name == "" {
				name = "UTC"
			}
			s := inZone(t, url, zone, 3)
			total := 0
			require.NoError(t, db.QueryRow(t.Context(), "select count(*) from candu_interactions").Scan(&total))
			seen, sums, p := map[string]time.Time{}, map[string]int64{}, Prints{View: []string{"view"}}
			for cursor := (Cursor{}); ; {
				page, err := s.Page(t.Context(), cursor)
				require.NoError(t, err)
				for _, row := range page.Rows {
					require.NotContains(t, seen, row.ID)
					require.Equal(t, row.OccurredAt, row.ExportedAt)
					seen[row.ID], sums[row.ID] = row.OccurredAt, p.Sum(s.table.KindOf(&row, p), &row)
				}
				if cursor = page.Next; page.Last {
					break
				}
			}
			require.Len(t, seen, total, "every row once")
			for id, at := range seen {
				var want time.Time
				require.NoError(t, db.QueryRow(t.Context(), "select occurred_at at time zone $2 from candu_interactions where id::text = $1", id, name).Scan(&want))
				require.True(t, want.Equal(at), "%s: %s, %s", id, want, at)
			}

			all := Range{UpTo: At(time.Now().AddDate(10, 0, 0))}
			prints := fingerprints(t, s, all, p)
			here, err := s.prints(t.Context(), all, p)
			require.NoError(t, err)
			require.ElementsMatch(t, here, prints, "the same as from the rows of pages")
			byDay := int64(0)
			for _, f := range prints {
				day, err := all.OnDay(f.Day)
				require.NoError(t, err)
				rows, err := s.DayRows(t.Context(), day, p, nil, math.MaxInt32)
				require.NoError(t, err)
				require.Len(t, rows, int(f.Rows), f.Day)
				for _, row := range rows {
					require.Equal(t, sums[row.ID], row.Sum)
				}
				byDay += f.Rows
			}
			require.EqualValues(t, total, byDay)

			// A border within the hour that stands twice.
			border := time.Date(2026, 11, 1, 5, 30, 0, 0, time.UTC)
			want := 0
			for _, at := range seen {
				if !at.Before(border) {
					want++
				}
			}
			from := all
			from.From = &border
			count, err := s.Within(t.Context(), from)
			require.NoError(t, err)
			require.EqualValues(t, want, count)
			reader, _, err := s.Range(t.Context(), from)
			require.NoError(t, err)
			got := 0
			for page, err := reader.Next(t.Context()); page != nil; page, err = reader.Next(t.Context()) {
				require.NoError(t, err)
				got += len(page.Rows)
			}
			require.Equal(t, want, got)
		})
	}
}

// An index serves the order in which times without a zone are read.
func TestZone_PagesUseTheIndex(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	export := loadertest.Export{Rows: 20_000}
	require.NoError(t, export.Create(t.Context(), db))
	require.NoError(t, export.Fill(t.Context(), db))
	execute(t, db, "alter table candu_interactions alter exported_at type timestamp; analyze candu_interactions")
	s := inZone(t, url, "America/New_York", 1000)
	sorts, err := s.PageSorts(t.Context())
	require.NoError(t, err)
	require.False(t, sorts)
	missing, err := s.MissingIndex(t.Context())
	require.NoError(t, err)
	require.Empty(t, missing)
}

// What an index has in part is sorted group by group, which the planner calls by another name.
func TestPageSorts_SeesSortsOfGroups(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	export := loadertest.Export{Rows: 20_000, NoIndex: true}
	require.NoError(t, export.Create(t.Context(), db))
	require.NoError(t, export.Fill(t.Context(), db))
	execute(t, db, "update candu_interactions set exported_at = now() - interval '10 minutes' where exported_at is not null; create index on candu_interactions (exported_at); analyze candu_interactions")
	execute(t, db, "alter database \""+db.Config().ConnConfig.Database+"\" set enable_seqscan = off; alter database \""+db.Config().ConnConfig.Database+"\" set enable_sort = off")
	s := open(t, url, "candu_interactions", 1000)
	defer s.Close()
	sorts, err := s.PageSorts(t.Context())
	require.NoError(t, err)
	require.True(t, sorts)
}

// A zone that Go knows and the server does not is named, with where to look.
func TestZone_UnknownToTheServer(t *testing.T) {
	t.Parallel()
	s := inZone(t, bare(t), "Atlantis/Poseidonis", 1000)
	_, err := s.Page(t.Context(), Cursor{})
	require.ErrorContains(t, err, "Atlantis/Poseidonis")
	require.True(t, fault.Is(err, fault.Precondition))
	require.Contains(t, fault.HintOf(err), `interactions.timezone, "Atlantis/Poseidonis"`)
	require.Contains(t, fault.HintOf(err), "pg_timezone_names")
}

// No writer's clock shows a time that the change skips: then the zone is another one, and the page after such a
// row would begin an hour later.
func TestZone_ATimeThatIsSkippedIsRefused(t *testing.T) {
	t.Parallel()
	url := bare(t)
	execute(t, loadertest.Pool(t, url), "insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) values (1000, 'view', 'u', 1, now(), '2026-03-08 02:30')")
	_, err := inZone(t, url, "America/New_York", 1000).Page(t.Context(), Cursor{})
	require.ErrorContains(t, err, "2026-03-08 02:30:00 is skipped in America/New_York")
	require.True(t, fault.Is(err, fault.Precondition))
	require.Contains(t, fault.HintOf(err), "interactions.timezone")
	_, err = inZone(t, url, "UTC", 1000).Page(t.Context(), Cursor{})
	require.NoError(t, err)
}

func TestClockChange(t *testing.T) {
	t.Parallel()
	table := table(20, false, true, nil)
	at := func(text string) *time.Time {
		at, err := time.Parse(time.RFC3339, text)
		require.NoError(t, err)
		return &at
	}
	for zone, want := range map[string]time.Duration{"America/New_York": time.Hour, "Australia/Lord_Howe": 0, "UTC": 0, "": 0} {
		table.Zone = zone
		require.Equal(t, want, table.ClockChange(at("2026-11-01T05:59:00Z")), zone)
		require.Equal(t, want, table.ClockChange(at("2026-11-02T05:30:00Z")), zone)
		require.Zero(t, table.ClockChange(at("2026-11-03T06:00:00Z")), zone)
		require.Zero(t, table.ClockChange(nil))
	}
	table.Zone = "Australia/Lord_Howe"
	require.Equal(t, 30*time.Minute, table.ClockChange(at("2026-04-04T15:00:00Z")))
}
