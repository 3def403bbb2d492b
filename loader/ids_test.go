package loader_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// Rows without id are never read: a run says how many there are, and check and verify call them an error.
func TestRun_RowsWithoutIDAreCounted(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"bigint", "text"} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{source: "page_size: 7\nlookback: 1h"})
			w.sample(t, loadertest.Export{Rows: 100, IDType: id})
			w.exec(t, "alter table candu_interactions drop constraint candu_interactions_pkey")
			w.exec(t, "alter table candu_interactions alter column id drop not null")
			w.exec(t, "create unique index on candu_interactions (id)")
			w.exec(t, `update candu_interactions set id = null where ctid in (select ctid from candu_interactions order by exported_at limit 5)
				or ctid in (select ctid from candu_interactions order by exported_at desc limit 5)`)
			summary := w.run(t)
			require.EqualValues(t, 90, summary.RowsRead)
			require.EqualValues(t, 90, summary.Sent)
			require.Contains(t, w.log.String(), "rows without id are never read\" source=Candu_Test run=1 rows=10")
			require.Contains(t, w.levelled(t, "error"), "id_null")
			report := w.verify(t, loader.VerifyOptions{})
			require.False(t, report.Proved)
			require.EqualValues(t, 10, report.Unreadable)
			require.Zero(t, report.Missing.Rows)
			w.run(t)
			require.Contains(t, w.log.String(), "rows without id are never read\" source=Candu_Test run=2 rows=5", "from where it reads")
		})
	}
}

// An id that stands twice stops the run that reads it, wherever the two rows are, and nothing is proved.
func TestRun_StopsAtIDsThatComeTwice(t *testing.T) {
	t.Parallel()
	for name, twice := range map[string]string{
		"the same row":    "insert into candu_interactions select * from candu_interactions where id = 50",
		"in one page":     "update candu_interactions set id = 50 where id = 51",
		"far apart":       "update candu_interactions set id = 1 where id = 100",
		"at other times":  "update candu_interactions set id = 1, occurred_at = occurred_at + interval '3 days' where id = 2",
		"without a place": "update candu_interactions set id = 1, exported_at = '2000-01-01' where id = 100",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{source: "page_size: 10"})
			w.sample(t, loadertest.Export{Rows: 100})
			w.run(t)
			require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
			w.exec(t, "alter table candu_interactions drop constraint candu_interactions_pkey")
			w.exec(t, twice)
			report := w.verify(t, loader.VerifyOptions{})
			require.False(t, report.Proved, "%+v", report)
			require.Len(t, report.Twice, 1)

			fresh := newWorld(t, settings{url: w.url, warehouse: loadertest.Database(t), source: "page_size: 10"})
			_, err := fresh.try(t, loader.RunOptions{})
			require.ErrorContains(t, err, "is there more than once")
			require.True(t, fault.Is(err, fault.Precondition))
			require.Contains(t, fault.HintOf(err), "ADD UNIQUE")
			require.Zero(t, fresh.fake.Stats().Received)
		})
	}
}

// NaN and the infinities identify nobody, and a number is what it is, however it is written.
func TestRun_NumbersThatIdentify(t *testing.T) {
	t.Parallel()
	for _, number := range []string{"numeric", "double precision", "real", "numeric(12,2)"} {
		t.Run(number, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{source: "max_rejected: 100%"})
			w.plain(t)
			w.exec(t, "alter table candu_interactions alter column user_id type "+number+" using null, alter column tutorial_id type numeric, alter column portal_id type numeric(9,3)")
			w.exec(t, `insert into candu_interactions (id, kind, user_id, anonymous_id, tutorial_id, portal_id, occurred_at, exported_at)
				values (1, 'view', 7.00, null, 7.00, 9, now(), now()), (2, 'view', 'NaN', null, 1, 1, now(), now()), (3, 'view', 'NaN', 'a', 1, 1, now(), now()),
				(4, 'view', 8.5, null, 1.5, 1, now(), now()), (5, 'view', 8, null, 'NaN', 1, now(), now())`)
			if number == "double precision" || number == "real" {
				w.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at)
					values (6, 'view', 'Infinity', 1, now(), now()), (7, 'view', '-Infinity', 1, now(), now())`)
			}
			w.run(t)
			require.Equal(t, "7 7 9", w.one(t, "select user_id || ' ' || tutorial_id || ' ' || portal_id from candu_test.screens where loader_interaction_id = '1'"))
			require.Equal(t, "a", w.one(t, "select concat(user_id, anonymous_id) from candu_test.screens where loader_interaction_id = '3'"))
			want := []string{"2 missing_identity", "4 invalid_tutorial_id", "5 invalid_tutorial_id"}
			if number == "double precision" || number == "real" {
				want = append(want, "6 missing_identity", "7 missing_identity")
			}
			require.Equal(t, want, w.list(t, "select interaction_id || ' ' || reason from candu_test.loader_rejects order by 1"))
		})
	}
}

// Where it can't be told in time whether ids are unique, the run goes on, and notices what it reads.
func TestRun_UniqueIDsThatCantBeToldInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "page_size: 10"})
	w.cfg.Sources[0].Interactions.Table.Name = "slow"
	w.sample(t, loadertest.Export{Rows: 100})
	w.exec(t, `create function gives_up() returns boolean language plpgsql stable as $$ begin
		if current_query() like '%having count%' then raise exception 'canceling statement due to statement timeout' using errcode = '57014'; end if;
		return true; end $$`)
	w.exec(t, "create view slow as select * from candu_interactions where (select gives_up())")
	began := time.Now()
	require.EqualValues(t, 100, w.run(t).Sent)
	require.Less(t, time.Since(began), time.Minute, "it is not asked again")
	require.Contains(t, w.log.String(), "whether ids are unique can't be told in time")
	require.Contains(t, w.levelled(t, "warning"), "id_not_checked")

	for _, twice := range []string{
		"insert into candu_interactions select 1000 + n, 'view', 'u', null, 1, null, null, null, null, now(), now() from generate_series(1, 11) as n",
		"update candu_interactions set id = 1004, exported_at = (select exported_at from candu_interactions where id = 1004) where id = 1005",
	} {
		w.exec(t, "alter table candu_interactions drop constraint if exists candu_interactions_pkey")
		w.exec(t, twice)
	}
	_, err := w.try(t, loader.RunOptions{})
	require.ErrorContains(t, err, `id "1004" is there more than once`)
}
