package source

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/secret"
)

func TestMain(m *testing.M) { os.Exit(loadertest.Main(m)) }

var update = flag.Bool("update", false, "write the golden files")

// table returns a table as the catalog may describe it.
func table(id uint32, withZone bool, kind bool, names map[string]string) *Table {
	t := &Table{Spec: Spec{Schema: "public", Table: "candu_interactions", Columns: names}, HasKind: kind}
	at := uint32(pgtype.TimestamptzOID)
	if !withZone {
		at = pgtype.TimestampOID
	}
	for i := range numColumns {
		t.Columns[i] = Column{Name: t.column(Names[i]), oid: pgtype.TextOID}
	}
	t.Columns[colID].oid, t.Columns[colExportedAt].oid, t.Columns[colOccurredAt].oid = id, at, at
	if !kind {
		t.Columns[colKind] = Column{}
	}
	return t
}

func TestSelects_Golden(t *testing.T) {
	t.Parallel()
	moment := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	plain := table(pgtype.Int8OID, true, true, nil)
	odd := table(pgtype.UUIDOID, false, false, map[string]string{"id": `we"ird`, "exported_at": "Exported At"})
	odd.Schema, odd.Table = "My Schema", "Rows; drop table x"
	text := table(pgtype.TextOID, true, true, nil)
	beginning, _ := plain.pageSelect(plain.columnList(numColumns), Cursor{}, 10)
	atMoment, _ := plain.pageSelect(plain.columnList(numColumns), At(moment), 10)
	after, _ := plain.pageSelect(plain.columnList(numColumns), After(moment, "7"), 10)
	textAfter, _ := text.pageSelect(text.columnList(numColumns), After(moment, "7"), 10)
	oddAfter, _ := odd.pageSelect(odd.columnList(numColumns), After(moment, "7"), 10)
	keys, _ := plain.keysSelect(plain.columnList(numKeys), At(moment), moment, 10)
	keysAfter, _ := odd.keysSelect(odd.columnList(numKeys), After(moment, "7"), moment, 10)
	count, _ := plain.countSelect(plain.after(&conditions{}, After(moment, "7")), 10)
	nulls, _ := odd.countSelect(odd.unreadable(), 10)
	future, _ := plain.countSelect(plain.future(), 10)
	estimate, _ := plain.explainSelect(plain.after(&conditions{}, At(moment)))
	duplicates, _ := odd.duplicateSelect(At(moment))
	all, _ := plain.duplicateSelect(Cursor{})
	kinds, rng := Prints{View: []string{"view"}, Interaction: []string{"interaction"}}, Range{From: &moment, UpTo: After(moment, "7"), ExportedFrom: &moment}
	fingerprints, _ := plain.fingerprintSelect(rng, kinds)
	oddPrints, _ := odd.fingerprintSelect(Range{NoDay: true, UpTo: At(moment)}, kinds)
	dayRows, _ := odd.dayRowsSelect(rng, kinds, new("7"), 10)
	settled, _ := odd.settledSelect(rng, []string{"7"})
	for name, sql := range map[string]string{
		"fingerprints": fingerprints, "fingerprints_odd_names": oddPrints, "day_rows_odd_names": dayRows, "settled_odd_names": settled,
		"page_beginning": beginning, "page_moment": atMoment, "page_after": after, "page_text_id": textAfter, "page_odd_names": oddAfter,
		"keys": keys, "keys_odd_names": keysAfter, "by_id": plain.idSelect(plain.columnList(numColumns)), "count": count, "estimate": estimate, "duplicates": duplicates, "duplicates_all": all,
		"nulls": nulls, "future": future,
	} {
		golden := filepath.Join("testdata", name+".sql")
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(sql+"\n"), 0o600))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), sql+"\n", name)
	}
}

func open(t require.TestingT, url, relation string, pageSize int) *Source {
	s, err := Open(context.Background(), Config{
		URL: secret.URL(url), PageSize: pageSize, Log: slog.New(slog.DiscardHandler),
		Spec: Spec{Schema: "public", Table: relation},
	})
	require.NoError(t, err)
	return s
}

// Paging covers every row once, whatever the ids, ties, and page sizes.
func TestPage_CoversEveryRowOnce(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	types := map[string]func(n int) string{
		"bigint": func(n int) string { return strconv.Itoa(n*7919%10007 - 5000) },
		"uuid":   func(n int) string { return uuid.NewSHA1(uuid.Nil, []byte(strconv.Itoa(n))).String() },
		"text":   func(n int) string { return strings.Repeat("aB_é", n%3) + strconv.Itoa(n) },
	}
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		idType := rapid.SampledFrom([]string{"bigint", "uuid", "text"}).Draw(t, "type")
		rows := rapid.IntRange(0, 60).Draw(t, "rows")
		moments := rapid.IntRange(1, 10).Draw(t, "moments")
		pageSize := rapid.IntRange(1, 20).Draw(t, "page size")
		relation := fmt.Sprintf("t%d", n)
		require.NoError(t, loadertest.Export{Table: "public." + relation, IDType: idType, NoIndex: rapid.Bool().Draw(t, "no index")}.Create(context.Background(), db))
		batch := &pgx.Batch{}
		var want []string
		for i := range rows {
			id := types[idType](i)
			want = append(want, id)
			at := time.Date(2026, 1, 1, 0, 0, i%moments, i%moments*1000, time.UTC)
			batch.Queue("insert into "+relation+" (id, kind, user_id, tutorial_id, occurred_at, exported_at) values ($1::text::"+idType+", 'view', 'u', 1, $2, $2)", id, at)
		}
		require.NoError(t, db.SendBatch(context.Background(), batch).Close())
		s := open(t, url, relation, pageSize)
		defer s.Close()
		var got []string
		for cursor, pages := (Cursor{}), 0; ; pages++ {
			require.LessOrEqual(t, pages, rows+1, "it ends")
			page, err := s.Page(context.Background(), cursor)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.Rows), pageSize)
			for i := range page.Rows {
				got = append(got, page.Rows[i].ID)
				require.False(t, page.Rows[i].ExportedAt.Before(cursor.At) && !cursor.IsZero(), "in order")
			}
			cursor = page.Next
			if page.Last {
				break
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		require.Len(t, got, len(want))
		if len(want) > 0 {
			require.Equal(t, want, got)
		}
		_, err := db.Exec(context.Background(), "drop table "+relation)
		require.NoError(t, err)
	})
}

// A column of the table may serve for two canonical ones, and is still what rows are ordered by.
func TestPage_ReadsAColumnTwice(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	export := loadertest.Export{Rows: 12, Ties: 12}
	require.NoError(t, export.Create(t.Context(), loadertest.Pool(t, url)))
	require.NoError(t, export.Fill(t.Context(), loadertest.Pool(t, url)))
	s, err := Open(t.Context(), Config{
		URL: secret.URL(url), PageSize: 100, Log: slog.New(slog.DiscardHandler),
		Spec: Spec{Schema: "public", Table: "candu_interactions", Columns: map[string]string{"version_id": "id"}},
	})
	require.NoError(t, err)
	defer s.Close()
	page, err := s.Page(t.Context(), Cursor{})
	require.NoError(t, err)
	require.Len(t, page.Rows, 12)
	for i := range page.Rows {
		require.Equal(t, strconv.Itoa(i+1), page.Rows[i].ID)
		require.Equal(t, page.Rows[i].ID, page.Rows[i].VersionID)
	}
}

// A page is bounded in bytes, and the next one asks for fewer rows.
func TestPage_IsBoundedInBytes(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	export := loadertest.Export{Rows: 600, Wide: 60_000}
	require.NoError(t, export.Create(t.Context(), db))
	require.NoError(t, export.Fill(t.Context(), db))
	s := open(t, url, "candu_interactions", 5000)
	defer s.Close()
	rows := 0
	for cursor := (Cursor{}); ; {
		page, err := s.Page(t.Context(), cursor)
		require.NoError(t, err)
		require.Less(t, page.Bytes, PageBytes+100_000)
		rows += len(page.Rows)
		cursor = page.Next
		if page.Last {
			break
		}
	}
	require.Equal(t, 600, rows)
	require.Less(t, s.limit, 500)
}

// Every statement that a run makes on the export uses the index, however large the
// table is.
func TestPage_UsesTheIndex(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	export := loadertest.Export{Rows: 50_000}
	require.NoError(t, export.Create(t.Context(), db))
	require.NoError(t, export.Fill(t.Context(), db))
	s := open(t, url, "candu_interactions", 1000)
	defer s.Close()
	at := time.Now().Add(-15 * 24 * time.Hour)
	for _, cursor := range []Cursor{{}, At(at), After(at, "25000")} {
		sql, args := s.table.pageSelect(s.table.columnList(numColumns), cursor, 1000)
		var plan string
		require.NoError(t, db.QueryRow(t.Context(), "explain (format json) "+sql, args...).Scan(&plan))
		require.Contains(t, plan, "candu_interactions_exported_at_id_idx", plan)
		require.NotContains(t, plan, `"Sort"`, plan)
		sql, args = s.table.keysSelect(s.table.columnList(numKeys), cursor, at.Add(time.Hour), 1000)
		require.NoError(t, db.QueryRow(t.Context(), "explain (format json) "+sql, args...).Scan(&plan))
		require.Contains(t, plan, "candu_interactions_exported_at_id_idx", plan)
		require.NotContains(t, plan, `"Sort"`, plan)
	}
	sql, args := s.table.countSelect(s.table.unreadable(), 10)
	var plan string
	require.NoError(t, db.QueryRow(t.Context(), "explain (format json) "+sql, args...).Scan(&plan))
	require.NotContains(t, plan, "Seq Scan", plan)
	missing, err := s.MissingIndex(t.Context())
	require.NoError(t, err)
	require.Empty(t, missing)
}

// The page is read again, with fewer rows, when the server gives up on it.
func TestPage_IsReadAgainWhenTheServerGivesUp(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	export := loadertest.Export{Rows: 2_000}
	require.NoError(t, export.Create(t.Context(), db))
	require.NoError(t, export.Fill(t.Context(), db))
	// The view raises what a standby raises on a recovery conflict, twice.
	for _, sql := range []string{
		// Locks of the session outlive the error, so they can count.
		`create function conflict() returns boolean language plpgsql as $$
			declare tries bigint := (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid());
			begin
				if tries < 2 then
					perform pg_advisory_lock(tries);
					raise exception 'canceling statement due to conflict with recovery' using errcode = '40001';
				end if;
				return true;
			end $$`,
		"create view conflicts as select * from candu_interactions where (select conflict())",
	} {
		_, err := db.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	s := open(t, url, "conflicts", 1000)
	defer s.Close()
	page, err := s.Page(t.Context(), Cursor{})
	require.NoError(t, err)
	require.Len(t, page.Rows, 125, "500, halved twice")
}

func TestObject_KeepsNullsAndTypes(t *testing.T) {
	t.Parallel()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	require.NoError(t, loadertest.Export{}.Create(t.Context(), db))
	_, err := db.Exec(t.Context(), `insert into candu_interactions (id, kind, event_name, tutorial_id, occurred_at, exported_at)
		values (-9223372036854775808, 'x', '', 7, 'infinity', '2026-01-02 03:04:05.000001+00')`)
	require.NoError(t, err)
	s := open(t, url, "candu_interactions", 10)
	defer s.Close()
	page, err := s.Page(t.Context(), Cursor{})
	require.NoError(t, err)
	object, err := page.Object(0)
	require.NoError(t, err)
	require.JSONEq(t, `{"id": -9223372036854775808, "kind": "x", "user_id": null, "anonymous_id": null, "tutorial_id": 7, "segment_id": null,
		"portal_id": null, "version_id": null, "event_name": "", "occurred_at": "infinity", "exported_at": "2026-01-02T03:04:05.000001Z"}`, string(object))
	require.True(t, json.Valid(object))
}

// What is no id of the table's type is no row, and keeps no other id from being found.
func TestByID_LeavesOutWhatIsNoID(t *testing.T) {
	t.Parallel()
	for idType, valid := range map[string]string{"bigint": "2", "integer": "2", "uuid": "", "text": "row-2"} {
		t.Run(idType, func(t *testing.T) {
			t.Parallel()
			url := loadertest.Database(t)
			db := loadertest.Pool(t, url)
			export := loadertest.Export{Rows: 3, IDType: idType}
			require.NoError(t, export.Create(t.Context(), db))
			require.NoError(t, export.Fill(t.Context(), db))
			if idType == "uuid" {
				require.NoError(t, db.QueryRow(t.Context(), "select id::text from candu_interactions limit 1").Scan(&valid))
			}
			s := open(t, url, "candu_interactions", 10)
			defer s.Close()
			page, err := s.ByID(t.Context(), []string{"x", "99999999999999999999", valid, "", "1.5", uuid.NewString()})
			require.NoError(t, err)
			require.Len(t, page.Rows, 1)
			require.Equal(t, valid, page.Rows[0].ID)
			object, err := page.Object(0)
			require.NoError(t, err)
			require.Contains(t, string(object), valid)
			page, err = s.ByID(t.Context(), []string{"x"})
			require.NoError(t, err)
			require.Empty(t, page.Rows)
		})
	}
}
