//go:build unix

package torture_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/loadertest"

	// The suite builds the programs by itself, of which go test's cache knows nothing: what they
	// are made of must not change behind a result that it keeps.
	_ "github.com/candu-loader/candu-loader/loader/serve"
)

// long is the version of `make torture`; the short one is part of `make test`.
var long = os.Getenv("CANDU_TORTURE") == "long"

// times returns how often something is done.
func times(short, inTheLongVersion int) int {
	if long {
		return inTheLongVersion
	}
	return short
}

// program is the loader's path, built with the tag failpoint.
var program string

func TestMain(m *testing.M) {
	os.Exit(loadertest.Within(loadertest.Options{TCP: true}, func() int { return build(m) }))
}

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "candu-torture-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	program = filepath.Join(dir, "candu-loader")
	cmd := exec.Command("go", "build", "-pgo=off", "-tags", "failpoint", "-o", program, "github.com/candu-loader/candu-loader/cmd/candu-loader")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building candu-loader: %s\n%s", err, out)
		return 1
	}
	code := m.Run()
	if code == 0 {
		total.print()
	}
	return code
}

// world is one scenario's surroundings: a database behind a proxy, and a fake Segment
// behind another.
type world struct {
	server *loadertest.Server
	// direct is the database's URL that passes the proxy by.
	direct   string
	db       *pgxpool.Pool
	fake     *fakesegment.Server
	postgres *toxiproxy.Proxy
	segment  *toxiproxy.Proxy
	config   string
	url      string
	seed     uint64
	dice     *rand.Rand

	mu        sync.Mutex
	watermark string
	kills     int
}

// setup makes a world. settings go into the source's part of the config, segment
// into that of Segment. The seed is printed; $CANDU_TORTURE_SEED repeats one.
func setup(t *testing.T, settings, segment string) *world {
	t.Helper()
	return setupOn(t, loadertest.Shared(t), settings, segment)
}

// setupOn is setup on a server of the scenario's own.
func setupOn(t *testing.T, server *loadertest.Server, settings, segment string) *world {
	t.Helper()
	w := &world{server: server, seed: uint64(time.Now().UnixNano())}
	if text := os.Getenv("CANDU_TORTURE_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
		w.seed = seed
	}
	t.Logf("seed %d; repeat with CANDU_TORTURE_SEED=%[1]d", w.seed)
	w.dice = rand.New(rand.NewPCG(w.seed, 2))
	w.direct = loadertest.DatabaseOn(t, server)
	w.db = loadertest.Pool(t, w.direct)
	var fake string
	w.fake, fake = loadertest.Segment(t, fakesegment.Options{Seed: w.seed, Forget: true})

	w.postgres = proxyTo(t, server.Address())
	w.segment = proxyTo(t, strings.TrimPrefix(fake, "http://"))
	w.url = w.at(t, w.postgres.Listen)
	w.configure(t, w.url, w.url, settings, segment)
	return w
}

// proxyTo starts a proxy in front of an address.
func proxyTo(t *testing.T, address string) *toxiproxy.Proxy {
	t.Helper()
	proxies := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(proxies, "proxy", "127.0.0.1:0", address)
	require.NoError(t, proxy.Start())
	t.Cleanup(proxy.Stop)
	return proxy
}

// at returns the URL of the world's database at another address.
func (w *world) at(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(w.direct)
	require.NoError(t, err)
	u.Host = address
	return u.String()
}

// configure writes the config.
func (w *world) configure(t *testing.T, url, migrateURL, settings, segment string) {
	t.Helper()
	w.config = filepath.Join(t.TempDir(), "config.yaml")
	text := fmt.Sprintf(`warehouse: {url: %q, migrate_url: %q}
segment: {endpoint: "http://%s", max_events_per_second: 0, %s}
sources:
  - {nickname: Candu, write_key: k, %s}
http: {listen: "127.0.0.1:0"}
`, url, migrateURL, w.segment.Listen, segment, settings)
	require.NoError(t, os.WriteFile(w.config, []byte(text), 0o600))
}

// load runs the loader to its end and expects success.
func (w *world) load(t *testing.T) {
	t.Helper()
	r := w.start(t)
	require.Zero(t, r.wait(t), "%s", r.output)
	w.checkWatermark(t)
}

// bury does what time would do: the server notices that a loader is dead, which may
// have died in the middle of a commit, and its lease runs out.
func (w *world) bury(t *testing.T) {
	t.Helper()
	loadertest.Eventually(t, func() bool {
		return w.number(t, "select count(*) from pg_stat_activity where datname = current_database() and application_name like 'candu-loader%'") == 0
	}, "the server to notice that a loader is dead")
	w.expire(t)
}

// expire lets the lease run out.
func (w *world) expire(t *testing.T) {
	t.Helper()
	w.exec(t, `do $$ begin
		if to_regclass('candu.loader_leases') is not null then
			update candu.loader_leases set expires_at = clock_timestamp() - interval '1 second' where expires_at > clock_timestamp();
		end if; end $$`)
}

// exec runs a statement, which may have to wait for what a loader that stands holds.
func (w *world) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), loadertest.Patience)
	defer cancel()
	_, err := w.db.Exec(ctx, sql, args...)
	require.NoError(t, err, sql)
}

func (w *world) one(t *testing.T, sql string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), loadertest.Patience)
	defer cancel()
	var value *string
	require.NoError(t, w.db.QueryRow(ctx, "select ("+sql+")::text").Scan(&value), sql)
	if value == nil {
		return ""
	}
	return *value
}

func (w *world) number(t *testing.T, sql string) int {
	t.Helper()
	n, err := strconv.Atoi(w.one(t, sql))
	require.NoError(t, err)
	return n
}

// checkWatermark proves that the watermark never went back.
func (w *world) checkWatermark(t *testing.T) {
	t.Helper()
	if w.one(t, "to_regclass('candu.loader_state') is not null") != "true" || w.number(t, "select count(*) from candu.loader_state") == 0 {
		return
	}
	now := w.one(t, `select to_char(watermark_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') from candu.loader_state`)
	w.mu.Lock()
	defer w.mu.Unlock()
	require.GreaterOrEqual(t, now, w.watermark, "the watermark went back")
	w.watermark = now
}

// mirrored counts the rows of the mirror.
const mirrored = "(select count(*) from candu.screens) + (select count(*) from candu.tracks)"

// misplaced counts rows of the export that are not in exactly one place.
const misplaced = `
	select count(*) from candu_interactions e
	left join (
		select id, count(*) as n from (
			select loader_interaction_id as id from candu.screens
			union all select loader_interaction_id from candu.tracks
			union all select interaction_id from candu.loader_rejects) p
		group by id) m on m.id = e.id::text
	where coalesce(m.n, 0) <> 1`

// faults are what a scenario did to the loader.
type faults struct{ Kills, Faults, Rows, Resent int }

// settle runs the loader to its end and checks the invariants.
func (w *world) settle(t *testing.T, mayResend int) {
	t.Helper()
	w.expire(t)
	w.load(t)
	w.load(t)
	require.Zero(t, w.number(t, misplaced), "export = mirror + rejects")
	verify := w.command(t, []string{"verify"})
	require.Zero(t, verify.wait(t), "%s", verify.output)
	// Rows of the last seconds may all lie beyond the watermark.
	require.Regexp(t, "^Candu: (proved|nothing to prove)[ ,:]", verify.output.String())
	accepted := w.fake.Accepted()
	slices.Sort(accepted)
	rows, err := w.db.Query(t.Context(), "select id from candu.screens union all select id from candu.tracks order by 1")
	require.NoError(t, err)
	var mirror []string
	for rows.Next() {
		var id string
		require.NoError(t, rows.Scan(&id))
		mirror = append(mirror, id)
	}
	require.NoError(t, rows.Err())
	require.True(t, slices.Equal(accepted, mirror), "every messageId accepted once: %d at Segment, %d in the mirror", len(accepted), len(mirror))
	require.Zero(t, w.number(t, "select count(*) from candu.loader_runs where status = 'running'"), "no run is left running")
	stats := w.fake.Stats()
	require.Zero(t, stats.Invalid)
	require.LessOrEqual(t, int(stats.Duplicates), mayResend, "what was sent twice was in flight")
	total.add(faults{Kills: w.kills, Rows: w.number(t, "select count(*) from candu_interactions"), Resent: int(stats.Duplicates), Faults: int(stats.Requests - stats.Statuses[http.StatusOK])})
}

// report adds up all scenarios.
type report struct {
	mu sync.Mutex
	faults
	Commits int
	Slowest time.Duration
}

var total report

func (r *report) add(f faults) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Kills += f.Kills
	r.Rows += f.Rows
	r.Resent += f.Resent
	r.Faults += f.Faults
}

func (r *report) recovery(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Slowest = max(r.Slowest, d)
}

func (r *report) commits(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Commits += n
}

func (r *report) print() {
	if r.Rows == 0 {
		return // No story was run.
	}
	version := "short"
	if long {
		version = "long"
	}
	fmt.Printf(`torture, %s version: every invariant held
  kill -9              %d
  failed requests      %d
  commits interleaved  %d
  rows                 %d
  lost                 0
  doubled in mirror    0
  re-sent              %d (same messageId, dropped by Segment)
  slowest recovery     %s
`, version, r.Kills, r.Faults, r.Commits, r.Rows, r.Resent, r.Slowest.Round(time.Millisecond))
}

func sample(t *testing.T, w *world, rows, first int) {
	t.Helper()
	// A row a second, so that what comes later was exported later.
	start := time.Now().AddDate(0, 0, -20).Truncate(24 * time.Hour).Add(time.Duration(first) * time.Second)
	e := loadertest.Export{Rows: rows, First: first, Start: start, End: start.Add(time.Duration(rows) * time.Second)}
	if first <= 1 {
		require.NoError(t, e.Create(t.Context(), w.db))
	}
	require.NoError(t, e.Fill(t.Context(), w.db))
}
