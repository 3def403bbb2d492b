package source

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/postgres"
)

// Whatever the columns' types, values are read as Postgres prints them, which a messageId
// depends on, and times to the microsecond.
func TestPage_ReadsAsPostgresPrints(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	_, err := db.Exec(t.Context(), "create domain digest as varchar; create type audience as enum ('Everyone', 'Ñandú')")
	require.NoError(t, err)
	values := map[string][]string{
		"smallint":    {"-32768", "0", "7"},
		"integer":     {"-2147483648", "2147483647"},
		"bigint":      {"-9223372036854775808", "9223372036854775807"},
		"uuid":        {"018B6E6E-3C00-8F11-8B63-56B8634BB70D", "00000000-0000-0000-0000-000000000000"},
		"text":        {"", " a b ", "é😀", "00017"},
		"varchar(20)": {"x  "},
		"digest":      {"x"},
		"char(5)":     {"ab"},
		"numeric":     {"1.50", "100000000000000000000", "NaN"},
		"audience":    {"Ñandú"},
	}
	at := []string{
		"infinity", "-infinity", "4713-01-01 00:00:00 BC", "0001-01-01", "1969-12-31 23:59:59.999999", "2000-01-01",
		"2026-01-02 03:04:05.000001", "9999-12-31 23:59:59.999999", "10000-01-01", "294276-12-31 23:59:59",
	}
	for n, c := range []struct{ id, user, segment, number, at string }{
		{"smallint", "integer", "audience", "numeric", "timestamptz"},
		{"integer", "bigint", "uuid", "smallint", "timestamp"},
		{"bigint", "numeric", "digest", "text", "timestamptz"},
		{"uuid", "uuid", "char(5)", "bigint", "timestamp"},
		{"text", "char(5)", "smallint", "integer", "timestamptz"},
		{"varchar(20)", "varchar(20)", "text", "char(5)", "timestamp"},
	} {
		table := fmt.Sprintf("t%d", n)
		_, err := db.Exec(t.Context(), fmt.Sprintf(`create table %s (id %s, kind text, user_id %s, anonymous_id text, tutorial_id %s, segment_id %s,
			portal_id %s, version_id text, event_name text, occurred_at %s, exported_at %s)`, table, c.id, c.user, c.number, c.segment, c.number, c.at, c.at))
		require.NoError(t, err)
		for i := range max(len(at), 4) {
			pick := func(kind string) string { return values[kind][i%len(values[kind])] }
			_, err := db.Exec(t.Context(), fmt.Sprintf("insert into %s (id, user_id, segment_id, tutorial_id, occurred_at, exported_at) values ('%s', '%s', '%s', '%s', '%s', '%s')",
				table, pick(c.id), pick(c.user), pick(c.segment), pick(c.number), at[i%len(at)], at[(i+3)%len(at)]))
			require.NoError(t, err)
		}
		s := open(t, url, table, 50)
		defer s.Close()
		s.table.UniqueID = true // What it is not is another test's business.
		page, err := s.Page(t.Context(), Cursor{})
		require.NoError(t, err)
		epochOf := func(column string) string {
			return fmt.Sprintf("case when isfinite(%[1]s) then extract(epoch from date_trunc('second', %[1]s))::bigint || to_char(%[1]s, '.US') else %[1]s::text end", column)
		}
		rows, err := db.Query(t.Context(), fmt.Sprintf("select id::text, user_id::text, segment_id::text, tutorial_id::text, %s, %s from %s order by %[3]s.exported_at, %[3]s.id",
			epochOf("occurred_at"), epochOf("exported_at"), table))
		require.NoError(t, err)
		defer rows.Close()
		for i := range page.Rows {
			require.True(t, rows.Next(), rows.Err())
			var id, user, segment, number, occurred, exported string
			require.NoError(t, rows.Scan(&id, &user, &segment, &number, &occurred, &exported))
			row := &page.Rows[i]
			if user == "NaN" && c.user == "numeric" {
				user = "" // It identifies nobody.
			}
			require.Equal(t, []string{id, user, segment, number}, []string{row.ID, row.UserID, row.SegmentID, row.TutorialID}, table)
			require.Empty(t, row.Kind+row.AnonymousID+row.PortalID+row.VersionID+row.EventName)
			require.Equal(t, []string{occurred, exported}, []string{epoch(row.OccurredAt), epoch(row.ExportedAt)}, table)
		}
		require.False(t, rows.Next())
		require.NoError(t, rows.Err())
	}
}

// epoch returns a time in seconds since 1970, rounded down, and its microseconds.
func epoch(at time.Time) string {
	switch {
	case at.Equal(positiveInfinity):
		return "infinity"
	case at.Equal(negativeInfinity):
		return "-infinity"
	}
	return fmt.Sprintf("%d.%06d", at.Unix(), at.Nanosecond()/1_000)
}

// Of a database in SQL_ASCII each byte that is no UTF-8 becomes U+FFFD.
func TestText_IsValidUTF8(t *testing.T) {
	t.Parallel()
	require.EqualValues(t, "a\uFFFD\uFFFDé", valid("a\xff\xfeé"))
	require.Empty(t, valid(""))
}

// Two ids never have one name, however they look, and the name leads back to the id.
func TestNameID_IsOneToOne(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{postgres.SQLASCII, "WIN1252"} {
		export := table(pgtype.TextOID, true, true, nil)
		export.encoding = encoding
		rapid.Check(t, func(t *rapid.T) {
			piece := rapid.SampledFrom([]string{`\x`, "ff", "c3a9", "5c78", "é", "\xff", "a", "4", "FF"})
			id := strings.Join(rapid.SliceOfN(piece, 1, 5).Draw(t, "id"), "")
			for range rapid.IntRange(0, 3).Draw(t, "times") {
				id = hexID(id)
			}
			in := event.Interaction{ID: id}
			if encoding != postgres.SQLASCII && !utf8.ValidString(id) {
				in.ID = hexID(id) // It can't be converted.
			} else {
				export.nameID(&in)
			}
			raw, ok := export.ofHex(in.ID)
			if in.ID == id {
				require.False(t, ok, "it is itself")
				return
			}
			require.True(t, ok)
			require.Equal(t, id, string(raw))
		})
	}
	plain := table(pgtype.TextOID, true, true, nil)
	plain.encoding = postgres.UTF8
	in := event.Interaction{ID: `\xff`}
	plain.nameID(&in)
	require.Equal(t, event.Interaction{ID: `\xff`}, in, "in UTF8 nothing looks like anything")
}

func TestPlain_NumbersThatIdentify(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]string{
		"7.00": "7", "7": "7", "-7.0": "-7", "0.00": "0", "1e+21": "1000000000000000000000", "7e0": "7", "1.5": "1.5", "1.50": "1.50",
		"100000000000000000000": "100000000000000000000", "NaN": "", "Infinity": "", "-Infinity": "", "": "", "1e-07": "1e-07",
	} {
		require.Equal(t, want, plain(number), number)
	}
}
