//go:build unix

package loadertest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DB is a connection or a pool.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// Export is a sample export. The zero value of each field is a sensible default.
type Export struct {
	// Table with its schema, plain; default public.candu_interactions.
	Table string
	// IDType is bigint, integer, uuid or text; default bigint.
	IDType string
	// Rows to make.
	Rows int
	// First is the number of the first row; ids and everything else follow from
	// the number, so that an export can grow. Default 1.
	First int
	// Start and End of occurred_at; default the 30 days before an hour ago.
	Start, End time.Time
	// Ties is how many rows share an exported_at; default 1 % of them, at most 500.
	Ties int
	// Wide makes each text of that many bytes, for tests of memory.
	Wide int
	// NoIndex leaves out the index on (exported_at, id).
	NoIndex bool
}

func (e Export) filled() Export {
	if e.Table == "" {
		e.Table = "public.candu_interactions"
	}
	if e.IDType == "" {
		e.IDType = "bigint"
	}
	if e.First == 0 {
		e.First = 1
	}
	if e.Ties == 0 {
		e.Ties = min(500, max(1, e.Rows/100))
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
		create table %s (
			id           %s          primary key,
			kind         text        not null,
			user_id      text,
			anonymous_id text,
			tutorial_id  integer,
			segment_id   text,
			portal_id    integer,
			version_id   text,
			event_name   text,
			occurred_at  timestamptz,
			exported_at  timestamptz not null default now()
		)`, e.name(), e.IDType))
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

// Fill inserts the rows, in the server. All of them can be sent: two views for each
// interaction; some users are anonymous; names come in several languages.
func (e Export) Fill(ctx context.Context, db DB) error {
	e = e.filled()
	if e.Rows == 0 {
		return nil
	}
	wide := "''"
	if e.Wide > 0 {
		wide = fmt.Sprintf("repeat('x', %d)", e.Wide)
	}
	_, err := db.Exec(ctx, fmt.Sprintf(`
		insert into %[1]s (id, kind, user_id, anonymous_id, tutorial_id, segment_id, portal_id, version_id, event_name, occurred_at, exported_at)
		select
			%[2]s,
			case when h %% 3 < 2 then 'view' else 'interaction' end,
			case when h %% 10 < 9 then 'user-' || (h / 7) %% 5000 end,
			case when h %% 10 = 9 or h %% 4 = 0 then 'anon-' || (h / 11) %% 9000 end,
			100 + (h / 13) %% 40,
			case when h %% 5 < 3 then 'Everyone' when h %% 5 = 3 then 'e4Q53Ipe7W' else 'n8Kd02LxQz' end,
			case when h %% 8 < 7 then 1 + (h / 17) %% 6 end,
			md5(((100 + (h / 13) %% 40) * 10 + (h / 19) %% 2)::text) || '00000000',
			case when h %% 3 = 2 then (array['Upgrade plan Link Clicked', 'Target Your Content - Expand', 'Zur Anleitung "Start" geklickt',
				'チュートリアルを閉じる', 'Voir l''étape suivante →', 'https://example.com/docs?a=1&b=2 Link Clicked', '🎉 Done'])[1 + (h / 23) %% 7] || %[3]s end,
			t,
			-- A batch of rows is exported at once, a little later.
			to_timestamp(ceil(extract(epoch from $3::timestamptz + ((n - 1) / $5::bigint * $5::bigint + $5::bigint) * ($4::timestamptz - $3::timestamptz) / $2::bigint)) + 60)
		from (
			select n, ('x' || substr(md5(n::text), 1, 7))::bit(28)::bigint as h,
				$3::timestamptz + (n - 1) * ($4::timestamptz - $3::timestamptz) / $2::bigint
					+ make_interval(secs => (('x' || substr(md5('t' || n), 1, 5))::bit(20)::bigint %% 60)::double precision / 1.001) as t
			from generate_series($1::bigint, $1::bigint + $2::bigint - 1) as n
		) as g`, e.name(), ids[e.IDType], wide),
		e.First, e.Rows, e.Start, e.End, e.Ties)
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
