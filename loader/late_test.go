package loader_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// aged is an export of its own, in which each open transaction began an hour ago: the margin
// before the clock hides nothing. Nothing is read twice.
type aged struct {
	*world
	export *pgxpool.Pool
}

func newAged(t *testing.T) *aged {
	t.Helper()
	url := loadertest.Database(t)
	a := &aged{world: newWorld(t, settings{source: "lookback: 0s\ninteractions: {url: \"" + url + "\"}"}), export: loadertest.Pool(t, url)}
	require.NoError(t, loadertest.Export{}.Create(t.Context(), a.export))
	require.NoError(t, loadertest.Age(t.Context(), a.export, time.Hour))
	return a
}

// open is a transaction that is open.
type open struct {
	*pgx.Conn
	pid uint32
}

// begin begins a transaction, with that first statement; busy leaves it at work until the test ends.
func (a *aged) begin(t *testing.T, first string, busy bool) *open {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), a.export.Config().ConnString())
	require.NoError(t, err)
	o := &open{conn, conn.PgConn().PID()}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	_, err = conn.Exec(t.Context(), first)
	require.NoError(t, err)
	if busy {
		working := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(working)
			_, _ = conn.Exec(ctx, "select pg_sleep(3600)") // It ends with the test.
		}()
		t.Cleanup(func() { cancel(); <-working })
		loadertest.Eventually(t, func() bool { return a.of(t, o, "state") == "active" }, "the transaction to be at work")
	}
	return o
}

// of returns what the export's server says of a transaction.
func (a *aged) of(t *testing.T, o *open, column string) string {
	t.Helper()
	var value string
	require.NoError(t, a.export.QueryRow(t.Context(), "select coalesce("+column+"::text, '') from pg_stat_activity where pid = $1", o.pid).Scan(&value))
	return value
}

// row inserts a row; at says when it was exported, as an expression.
func (a *aged) row(t *testing.T, db loadertest.DB, id int, at string) {
	t.Helper()
	_, err := db.Exec(t.Context(), `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at)
		select $1::bigint, 'view', 'u', 1, x, x from (select `+at+` as x) x`, id)
	require.NoError(t, err)
}

// The watermark stays at the beginning of the oldest transaction that is open in the export's
// database, whatever that does, and not at the margin before the clock, nor at a younger one.
func TestRun_NeverPassesTheOldestOpenTransaction(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		first, state string
		writes       bool
	}{
		"it waits for its client": {first: "begin; select", state: "idle in transaction", writes: true},
		"it only reads":           {first: "begin transaction read only; select", state: "idle in transaction"},
		"it is at work":           {first: "begin; select", state: "active"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAged(t)
			a.row(t, a.export, 1, "now() - interval '2 hours'")
			oldest := a.begin(t, c.first, c.state == "active")
			a.begin(t, "begin; select", c.state != "active") // Younger, and in another state.
			a.row(t, a.export, 3, "now() - interval '30 minutes'")
			require.Equal(t, c.state, a.of(t, oldest, "state"))
			require.EqualValues(t, 2, a.run(t).Sent, "rows beyond the safe point go at once")
			require.Equal(t, a.of(t, oldest, "to_char(xact_start at time zone 'UTC', 'HH24:MI:SS.US')"),
				a.one(t, "select to_char(watermark_at at time zone 'UTC', 'HH24:MI:SS.US') from candu_test.loader_state"))
			require.Equal(t, "NULL", a.one(t, "select watermark_id from candu_test.loader_state"))
			if !c.writes {
				return
			}
			a.row(t, oldest, 2, "now() - interval '1 hour'")
			_, err := oldest.Exec(t.Context(), "commit")
			require.NoError(t, err)
			require.EqualValues(t, 1, a.run(t).Sent, "what it commits is not missed")
		})
	}
}

// hooked is a proxy before the export's server: with is called once, before the loader sees the
// first answer that has the text in it. It returns the URL.
func hooked(t *testing.T, url, text string, with func()) string {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	network, address := pgconn.NetworkAddress(config.Host, config.Port)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	var once sync.Once
	pass := func(from, to net.Conn, seen func([]byte)) {
		defer func() { _, _ = from.Close(), to.Close() }()
		buffer := make([]byte, 64<<10)
		for {
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			seen(buffer[:n])
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial(network, address)
			if err != nil {
				_ = client.Close()
				continue
			}
			go pass(client, server, func([]byte) {})
			go pass(server, client, func(b []byte) {
				if bytes.Contains(b, []byte(text)) {
					once.Do(with)
				}
			})
		}
	}()
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", config.User, listener.Addr(), config.Database)
}

// A transaction that commits between page and safe point is in neither, if the safe point is not
// the first of the two.
func TestRun_ReadsTheSafePointBeforeThePage(t *testing.T) {
	t.Parallel()
	a := newAged(t)
	a.row(t, a.export, 1, "now() - interval '2 hours'")
	oldest := a.begin(t, "begin; select", false)
	a.row(t, oldest, 2, "now() - interval '1 hour'")
	a.row(t, a.export, 3, "now() - interval '30 minutes'")
	_, err := a.export.Exec(t.Context(), "update candu_interactions set user_id = 'read me' where id = 3")
	require.NoError(t, err)
	committed := make(chan error, 1)
	a.cfg.Sources[0].Interactions.URL = secret.URL(hooked(t, a.export.Config().ConnString(), "read me", func() {
		_, err := oldest.Exec(context.WithoutCancel(t.Context()), "commit")
		committed <- err
	}))
	require.EqualValues(t, 2, a.run(t).Sent)
	require.NoError(t, loadertest.Receive(t, committed, "the transaction to commit after the page"))
	require.EqualValues(t, 1, a.run(t).Sent)
	a.run(t)
	require.Equal(t, "3", a.one(t, "select count(*) from candu_test.screens"))
}

// Who can't see open transactions claims no more than the newest row less lookback.
func TestRun_ClaimsLessWhereTransactionsAreHidden(t *testing.T) {
	t.Parallel()
	server := loadertest.Shared(t)
	role := loadertest.Role(t, server, "blind")
	a := newAged(t)
	a.cfg.Sources[0].Lookback = 5 * time.Minute
	_, err := a.export.Exec(t.Context(), "grant select on candu_interactions to "+role)
	require.NoError(t, err)
	a.row(t, a.export, 1, "now() - interval '20 minutes'")
	a.cfg.Sources[0].Interactions.URL = secret.URL(server.URL(a.export.Config().ConnConfig.Database, role))
	summary := a.run(t)
	require.NotNil(t, summary.CompleteUntil)
	require.WithinDuration(t, time.Now().Add(-25*time.Minute), *summary.CompleteUntil, time.Minute)
	require.Equal(t, "true", a.one(t, "select held_back_by like '%pg_read_all_stats%' and complete_until = watermark_at - interval '5 minutes' from candu_test.loader_state"))
	_, err = a.export.Exec(t.Context(), "grant pg_read_all_stats to "+role)
	require.NoError(t, err)
	summary = a.run(t)
	require.WithinDuration(t, time.Now().Add(-10*time.Second), *summary.CompleteUntil, time.Minute)
}
