//go:build unix

package loadertest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DB is a connection or a pool.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// Export is a sample export. The zero value of each field is a sensible default,
// and the same values make the same rows.
type Export struct {
	// Table with its schema, plain; default public.candu_interactions.
	Table string
	// IDType is bigint, integer, uuid or text; default bigint.
	IDType string
	// NumberType is the type of tutorial_id and portal_id; default integer, or
	// text if Bad wants values in them that are no numbers.
	NumberType string
	// Rows to make.
	Rows int
	// First is the number of the first row, default 1. The ids follow from the
	// numbers, so that an export can grow; its Start should then be the End of before.
	First int
	// Seed changes everything but the ids.
	Seed int64
	// Start and End of occurred_at; default the 30 days before an hour ago.
	Start, End time.Time
	// Users, Tutorials and Segments are how many there are; default 5,000, 40 and 4,
	// one of which is Everyone. Some tutorials are far more popular than others.
	Users, Tutorials, Segments int
	// ViewShare is the part of the rows that are views, about; default 2/3.
	ViewShare float64
	// Ties is how many rows share an exported_at; default 3, so that a border between pages, or that
	// of a range, seldom falls among them by chance.
	Ties int
	// Wide makes a text of that many bytes in each row, for tests of memory.
	Wide int
	// Bad is the part of the rows that must be rejected, by reason code; default
	// none. There is no row for refused_by_segment.
	Bad map[string]float64
	// NoIndex leaves out the index on (exported_at, id).
	NoIndex bool
}

func (e Export) filled() Export {
	e.Table = cmp.Or(e.Table, "public.candu_interactions")
	e.IDType = cmp.Or(e.IDType, "bigint")
	e.NumberType = cmp.Or(e.NumberType, "integer")
	e.First = cmp.Or(e.First, 1)
	e.Users, e.Tutorials, e.Segments = cmp.Or(e.Users, 5_000), cmp.Or(e.Tutorials, 40), cmp.Or(e.Segments, 4)
	e.ViewShare = cmp.Or(e.ViewShare, 2.0/3)
	e.Ties = cmp.Or(e.Ties, 3)
	if e.Bad["invalid_tutorial_id"]+e.Bad["invalid_portal_id"] > 0 {
		e.NumberType = "text"
	}
	if e.End.IsZero() {
		e.End = time.Now().Add(-time.Hour).Truncate(time.Hour)
	}
	if e.Start.IsZero() {
		e.Start = e.End.AddDate(0, 0, -30)
	}
	return e
}

func (e Export) name() string { return pgx.Identifier(strings.Split(e.Table, ".")).Sanitize() }

// Create makes the table.
func (e Export) Create(ctx context.Context, db DB) error {
	e = e.filled()
	_, err := db.Exec(ctx, fmt.Sprintf(`
		create table %[1]s (
			id           %[2]s       primary key,
			kind         text        not null,
			user_id      text,
			anonymous_id text,
			tutorial_id  %[3]s,
			segment_id   text,
			portal_id    %[3]s,
			version_id   text,
			event_name   text,
			occurred_at  timestamptz,
			exported_at  timestamptz not null default now()
		)`, e.name(), e.IDType, e.NumberType))
	if err == nil && !e.NoIndex {
		_, err = db.Exec(ctx, fmt.Sprintf("create index on %s (exported_at, id)", e.name()))
	}
	if err != nil {
		return fmt.Errorf("creating the sample export: %w", err)
	}
	return nil
}

// ids are expressions for the id of row number n.
var ids = map[string]string{
	"bigint":  "n",
	"integer": "n::integer",
	"uuid":    "md5('candu' || n)::uuid",
	"text":    "'row-' || n",
}

// names are of interactions: free text that content editors wrote.
const names = `array['Upgrade plan Link Clicked', 'Target Your Content - Expand', 'Zur Anleitung "Start" geklickt', 'チュートリアルを閉じる',
	'Voir l''étape suivante →', 'https://example.com/docs?a=1&b=2 Link Clicked', '🎉 Done', 'إغلاق الدليل', 'Invite a teammate Link Clicked']`

// Fill inserts the rows, in the server: a million takes about 6 s. A row's exported_at
// is a little later than its occurred_at, and the same for a batch of rows. Some users
// are anonymous.
func (e Export) Fill(ctx context.Context, db DB) error {
	e = e.filled()
	if e.Rows == 0 {
		return nil
	}
	id, ok := ids[e.IDType]
	if !ok {
		return fmt.Errorf("filling the sample export: no ids of type %q", e.IDType)
	}
	bad, err := e.bad()
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, fmt.Sprintf(`
		insert into %[1]s (id, kind, user_id, anonymous_id, tutorial_id, segment_id, portal_id, version_id, event_name, occurred_at, exported_at)
		select
			%[2]s,
			case when bad = 'unknown_kind' then 'hover' when interaction then 'interaction' else 'view' end,
			case when bad is distinct from 'missing_identity' and identity > 0 then 'user-' || person end,
			case when bad is distinct from 'missing_identity' and identity < 3 then substr(md5('anonymous' || person), 1, 20) end,
			case bad when 'missing_tutorial_id' then null when 'invalid_tutorial_id' then '12x' else tutorial::text end::%[3]s,
			case when audience = 0 then 'Everyone' else substr(md5('segment' || audience), 1, 10) end,
			case when bad = 'invalid_portal_id' then 'home' when portal < 7 then (1 + portal)::text end::%[3]s,
			version || case when interaction then '' else wide end,
			case when bad = 'event_too_large' then repeat('x', 40000)
				when bad = 'missing_event_name' then case when n %% 2 = 0 then '  ' end
				when interaction then (%[4]s)[1 + name] || wide end,
			case when bad = 'invalid_timestamp' then (array[null, '-infinity', '1969-07-20 20:17:40+00'])[1 + n %% 3]::timestamptz
				else occurred_at end,
			-- A batch of rows is exported at once, not before its last row occurred.
			$3::timestamptz + least((place / $5::bigint + 1) * $5::bigint, $2::bigint) * step + interval '60 s'
		from (
			select *, inviting or bad in ('missing_event_name', 'event_too_large') is true as interaction
			from (
				select n, place, step, version, wide, %[5]s as bad,
					d1 %% 10 as identity, (d1 >> 8) %% $6::bigint as person, (d1 >> 40) %% $7::bigint as audience,
					d2 %% 8 as portal, (d2 >> 8) %% 9 as name, tutorial,
					-- Some tutorials invite more interaction than others.
					(d2 >> 16) %% 1000 >= $8::bigint + (tutorial * 37) %% 21 * 10 - 100 as inviting,
					$3::timestamptz + place * step + make_interval(secs => ((d2 >> 32) %% 59999999)::double precision / 1e6) as occurred_at
				from (
					select n, n - $1::bigint as place, ($4::timestamptz - $3::timestamptz) / $2::bigint as step, repeat('x', $9::integer) as wide,
						hashint8extended(n, $10::bigint + 1) & x'7fffffffffffffff'::bigint as d1,
						hashint8extended(n, $10::bigint + 2) & x'7fffffffffffffff'::bigint as d2,
						hashint8extended(n, $10::bigint + 3) & x'7fffffffffffffff'::bigint as d3
					from generate_series($1::bigint, $1::bigint + $2::bigint - 1) as n
				) as draws
				cross join lateral (select d3 %% 1000 as u, (d3 >> 20) %% 1000000 as luck) as more
				join (
					select 100 + t as tutorial, t, v, md5('version' || t || '.' || v) || substr(md5(v || 'version' || t), 1, 8) as version
					from generate_series(0, $11::bigint - 1) as t, generate_series(0, 1) as v
				-- The square makes the first ones popular.
				) as tutorials on t = u * u * $11::bigint / 1000000 and v = (d3 >> 44) %% 2
			) as drawn
		) as rows`, e.name(), id, e.NumberType, names, bad),
		e.First, e.Rows, e.Start, e.End, e.Ties, e.Users, e.Segments, int(e.ViewShare*1000), e.Wide, e.Seed, e.Tutorials)
	if err != nil {
		return fmt.Errorf("filling the sample export: %w", err)
	}
	// Without statistics the first plans are poor, as they would be for nobody's
	// real table.
	if _, err := db.Exec(ctx, "analyze "+e.name()); err != nil {
		return fmt.Errorf("analyzing the sample export: %w", err)
	}
	return nil
}

// bad returns the expression for the reason why a row is bad, NULL for most.
func (e Export) bad() (string, error) {
	reasons := []string{
		"missing_identity", "unknown_kind", "missing_tutorial_id", "invalid_tutorial_id", "invalid_portal_id",
		"missing_event_name", "invalid_timestamp", "event_too_large",
	}
	for reason := range e.Bad {
		if !slices.Contains(reasons, reason) {
			return "", fmt.Errorf("filling the sample export: no rows for reason %q", reason)
		}
	}
	// One number decides, so a row has one reason.
	upTo := 0.0
	var whens strings.Builder
	for _, reason := range reasons {
		if share := e.Bad[reason]; share > 0 {
			upTo += share
			fmt.Fprintf(&whens, " when luck < %d then '%s'", int(upTo*1e6), reason)
		}
	}
	if upTo == 0 {
		return "null::text", nil
	}
	return "case" + whens.String() + " end", nil
}

// Age makes each transaction that is open in the database look as if it had begun so much earlier:
// the safe point stays 10 s behind the clock, and no transaction of a test gets older than that by
// itself. A row that such a transaction stamps with its beginning is now() - by. db must be the
// superuser's.
func Age(ctx context.Context, db DB, by time.Duration) error {
	_, err := db.Exec(ctx, fmt.Sprintf(`
		set allow_system_table_mods = on;
		do $do$ begin
			execute 'create or replace view pg_catalog.pg_stat_activity as ' || replace(pg_get_viewdef('pg_catalog.pg_stat_activity'::regclass),
				's.xact_start,', 's.xact_start - interval ''%d ms'' as xact_start,');
		end $do$;
		reset allow_system_table_mods`, by.Milliseconds()))
	if err != nil {
		return fmt.Errorf("ageing the open transactions: %w", err)
	}
	return nil
}
