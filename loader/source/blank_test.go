package source

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// A row without the column kind is a view on both sides or an interaction on both, for every code
// point as the whole event_name, under collations that have their own idea of white space, and
// under those that regular expressions refuse.
func TestKind_ByEventNameIsOneOnBothSides(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	_, err := db.Exec(ctx, "create collation loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false)")
	require.NoError(t, err)
	for name, column := range map[string]string{"plain": "text", "unicode": `text collate "und-x-icu"`, "loose": "text collate loose", "padded": "char(3)"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			_, err := db.Exec(ctx, fmt.Sprintf(`create table %s as select i as id, null::text as user_id, 'a' as anonymous_id, 1 as tutorial_id, null::text as segment_id,
				null::int as portal_id, null::text as version_id, null::text as event_name, timestamptz '2026-01-02' as occurred_at, timestamptz '2026-01-02' as exported_at
				from (select i from generate_series(1, 12400) i union select i from generate_series(65024, 65535) i union select unnest(array[1114109, 128512])) i`, name))
			require.NoError(t, err)
			_, err = db.Exec(ctx, fmt.Sprintf("alter table %s alter event_name type %s; update %[1]s set event_name = chr(id)", name, column))
			require.NoError(t, err)
			_, err = db.Exec(ctx, fmt.Sprintf("insert into %s select -n, null, 'a', 1, null, null, null, case n when 1 then null when 2 then '' when 3 then E' \\t\u3000' else E'\\u00a0x ' end, timestamptz '2026-01-02', timestamptz '2026-01-02' from generate_series(1, 4) n", name))
			require.NoError(t, err)

			s, err := Open(ctx, Config{URL: secret.URL(url), PageSize: 100, Log: slog.New(slog.DiscardHandler), Spec: Spec{Schema: "public", Table: name, ByEventName: true}})
			require.NoError(t, err)
			t.Cleanup(s.Close)
			rules, views := event.NewRules(uuid.New(), nil, false, func(*event.Event) int { return 0 }), 0
			inGo := map[string]string{}
			rows, err := db.Query(ctx, "select id::text, coalesce(event_name::text, '') from "+name)
			require.NoError(t, err)
			for rows.Next() {
				in := event.Interaction{AnonymousID: "a", TutorialID: "1", OccurredAt: time.Unix(1_767_312_000, 0)}
				require.NoError(t, rows.Scan(&in.ID, &in.EventName))
				made, reject := rules.Convert(&in)
				require.Nil(t, reject)
				inGo[in.ID] = made.Kind.String()
				if made.Kind == event.View {
					views++
				}
			}
			require.NoError(t, rows.Err())
			compared, err := s.DayRows(ctx, Range{UpTo: At(time.Unix(1_800_000_000, 0))}, Prints{}, nil, 20_000)
			require.NoError(t, err)
			require.Len(t, compared, len(inGo))
			for _, row := range compared {
				require.Equal(t, inGo[row.ID], row.Kind, "id, which is the code point: %s", row.ID)
			}
			require.Greater(t, views, 20, "there are blanks among them")
		})
	}
}
