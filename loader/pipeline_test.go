package loader_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// Pages are recorded in groups. Whatever fails on the way, and when it fails again,
// whenever the watermark moves all that it passes is mirrored.
func TestRun_RecordsPagesInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "page_size: 20", segment: "concurrency: 8\nbatch_size: 10"})
	w.sample(t, loadertest.Export{Rows: 600, Ties: 1})
	_, err := w.loader(t).Migrate(t.Context(), w.cfg.Sources[0], ledger.MigrateOptions{Create: true})
	require.NoError(t, err)
	w.exec(t, `begin; set local search_path to candu_test;
		create table trouble (n int);
		create sequence drawn; create sequence wrong;
		create function fail() returns trigger language plpgsql as $$ begin
			-- What a serialization failure or a lost connection is to the loader: it tries again. Of a
			-- transaction that fails nothing stays but the sequence.
			if nextval('candu_test.drawn') % 97 = 0 then raise 'trouble' using errcode = '40001'; end if;
			return new;
		end $$;
		create trigger fail before insert on screens for each row execute function fail();
		create trigger fail before insert on tutorial_interaction for each row execute function fail();
		create function look() returns trigger language plpgsql as $$ begin
			-- No error, for a page is tried again.
			if new.watermark_at < old.watermark_at or exists (select from public.candu_interactions e
				where (e.exported_at, e.id) <= (new.watermark_at, new.watermark_id::bigint)
				  and not exists (select from candu_test.screens s where s.loader_interaction_id = e.id::text
					union all select from candu_test.tracks t where t.loader_interaction_id = e.id::text))
			then perform nextval('candu_test.wrong'); end if;
			insert into candu_test.trouble values (1);
			return new;
		end $$;
		-- When the page is committed, whatever was written first.
		create constraint trigger look after update of watermark_at on loader_state deferrable initially deferred for each row execute function look();
		commit`)
	summary := w.run(t)
	require.EqualValues(t, 600, summary.Sent)
	moves, err := strconv.Atoi(w.one(t, "select count(*) from candu_test.trouble"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, moves, 30/3, "each group moved the watermark")
	require.Equal(t, "false", w.one(t, "select is_called from candu_test.wrong"), "the watermark went back, or passed a row that is not mirrored")
	require.Equal(t, "true", w.one(t, "select last_value > 606 from candu_test.drawn"), "some were written again")
	w.exec(t, "drop trigger fail on candu_test.screens; drop trigger fail on candu_test.tutorial_interaction; drop trigger look on candu_test.loader_state")
	w.settled(t, "candu_interactions", "id")
}

// While Segment is waited for, nothing is open on the export: neither a transaction nor a
// cursor.
func TestRun_HoldsNothingOpenOnTheExport(t *testing.T) {
	t.Parallel()
	var w *world
	var requests, open atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		var n int64
		err := w.db.QueryRow(r.Context(), `select count(*) from pg_stat_activity where datname = current_database()
			and pid <> pg_backend_pid() and state like 'idle in transaction%'`).Scan(&n)
		if err != nil {
			n = 1_000_000
		}
		open.Add(n)
		w.fake.ServeHTTP(rw, r)
	}))
	defer server.Close()
	w = newWorld(t, settings{warehouse: loadertest.Database(t), source: "page_size: 100", segment: "endpoint: " + server.URL})
	w.sample(t, loadertest.Export{Rows: 1_000})
	require.EqualValues(t, 1_000, w.run(t).Sent)
	require.EqualValues(t, 10, requests.Load())
	require.Zero(t, open.Load())
}
