package source

import (
	"log/slog"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// fingerprints are those of a range, all pieces together.
func fingerprints(t *testing.T, s *Source, r Range, p Prints) []Fingerprint {
	t.Helper()
	type of struct{ day, kind string }
	all, sums := map[of]Fingerprint{}, map[of]*big.Int{}
	require.NoError(t, s.Fingerprints(t.Context(), r, p, func(list []Fingerprint) {
		for _, f := range list {
			at := of{f.Day, f.Kind}
			sum, ok := new(big.Int).SetString(f.Sum, 10)
			require.True(t, ok, f.Sum)
			if before := sums[at]; before != nil {
				sum.Add(sum, before)
			}
			sums[at] = sum
			all[at] = Fingerprint{f.Day, f.Kind, all[at].Rows + f.Rows, sum.String()}
		}
	}))
	list := make([]Fingerprint, 0, len(all))
	for _, f := range all {
		list = append(list, f)
	}
	return list
}

// The sum of a row is the same in Postgres and here, whatever it holds, and says something of each value.
func TestSum_IsTheSameHereAndThere(t *testing.T) {
	t.Parallel()
	for _, numbers := range []string{"text", "bigint", "numeric", "numeric(60,2)"} {
		t.Run(numbers, func(t *testing.T) {
			t.Parallel()
			url := loadertest.Database(t)
			db := loadertest.Pool(t, url)
			export := loadertest.Export{IDType: "text", NumberType: numbers}
			require.NoError(t, export.Create(t.Context(), db))
			if strings.HasPrefix(numbers, "numeric") {
				_, err := db.Exec(t.Context(), "alter table candu_interactions alter user_id type "+numbers+" using null, alter anonymous_id type double precision using null")
				require.NoError(t, err)
			}
			n := 0
			row := func(column string, value any) {
				n++
				id, values := "row-"+string(rune('a'+n%26))+strings.Repeat("'", n), map[string]any{
					"kind": "interaction", "user_id": "5", "anonymous_id": "6.5", "tutorial_id": "7", "segment_id": "s", "portal_id": "8", "version_id": "v", "event_name": "e",
					"occurred_at": time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC),
				}
				values[column] = value
				_, err := db.Exec(t.Context(), `insert into candu_interactions (id, kind, user_id, anonymous_id, tutorial_id, segment_id, portal_id, version_id, event_name, occurred_at, exported_at)
					values ($1, $2, $3, $4, $5::text::`+numbers+`, $6, $7::text::`+numbers+`, $8, $9, $10, now() - interval '1 hour' + $11 * interval '1 ms')`,
					id, values["kind"], values["user_id"], values["anonymous_id"], values["tutorial_id"], values["segment_id"], values["portal_id"],
					values["version_id"], values["event_name"], values["occurred_at"], n)
				require.NoError(t, err, "%s: %v", column, value)
			}
			row("", nil)
			for _, column := range []string{"user_id", "anonymous_id", "segment_id", "version_id", "event_name"} {
				row(column, nil)
				if strings.HasPrefix(numbers, "numeric") && (column == "user_id" || column == "anonymous_id") {
					for _, text := range []string{"7", "7.00", "-0.00", "7.5", "NaN", "0.1"} {
						row(column, text)
					}
					continue
				}
				for _, text := range []string{
					"", " ", "\u0085\u00a0\u3000", "\u200b", "x", " x ", "Straße", "表示", "\x01", "\x7f", "\u00a0x", "🎉", `\x00`, strings.Repeat("w", 31_990), strings.Repeat("ä", 16_000),
				} {
					row(column, text)
				}
			}
			for _, column := range []string{"tutorial_id", "portal_id"} {
				for _, text := range []string{"0", "-1", "9223372036854775807", "-9223372036854775808", "999999999999999999"} {
					row(column, text)
				}
				row(column, nil)
				if numbers != "bigint" {
					row(column, "9223372036854775808")
					row(column, "12345678901234567890123456789012345678901234567890")
				}
				if numbers == "text" {
					for _, text := range []string{"", " ", "+7", "07", "-0", "7.0", "x", "1e3", "٣", " 7", "7\n"} {
						row(column, text)
					}
				}
			}
			for _, at := range []any{
				nil, pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}, time.Unix(-1, 0), time.Unix(0, 0), time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
				time.Date(2026, 1, 2, 3, 4, 5, 678_902_000, time.UTC),
			} {
				row("occurred_at", at)
			}
			row("kind", "view")
			row("kind", "hover")
			s, err := Open(t.Context(), Config{URL: secret.URL(url), PageSize: 1000, Log: slog.New(slog.DiscardHandler), Spec: Spec{Schema: "public", Table: "candu_interactions"}})
			require.NoError(t, err)
			defer s.Close()
			all := Range{UpTo: At(time.Now())}
			for _, p := range []Prints{{View: []string{"view"}, Interaction: []string{"interaction"}}, {View: []string{"view"}, Interaction: []string{"interaction"}, Quick: true}} {
				there, err := s.DayRows(t.Context(), all, p, nil, math.MaxInt32)
				require.NoError(t, err)
				require.Len(t, there, n)
				sums := map[string]int64{}
				for _, row := range there {
					sums[row.ID] = row.Sum
				}
				reader := &RangeReader{source: s, rng: all}
				for {
					page, err := reader.Next(t.Context())
					require.NoError(t, err)
					if page == nil {
						break
					}
					for i := range page.Rows {
						in := &page.Rows[i]
						require.Equal(t, p.Sum(s.table.KindOf(in, p), in), sums[in.ID], "%+v", in)
					}
				}
				here, err := s.prints(t.Context(), all, p)
				require.NoError(t, err)
				require.ElementsMatch(t, here, fingerprints(t, s, all, p))
			}
		})
	}
}
