package loader_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// line is an export of rows 1, 2, 3 ..., a second apart and ten a page, before a Segment of which
// a test sees each request. Nothing is read twice: no lookback, no ties.
type line struct {
	*world

	// look is told the rows of each request before it is answered, and may choose the status; 0
	// lets the fake Segment answer.
	look func(rows []int) int

	mu   sync.Mutex
	rows map[int]int // how often each was let through
}

var tutorial = regexp.MustCompile(`"tutorialId":(\d+)`)

func newLine(t *testing.T, rows int, segment string) *line {
	t.Helper()
	return newLineIn(t, rows, settings{segment: segment})
}

// newLineIn is newLine with other settings.
func newLineIn(t *testing.T, rows int, s settings) *line {
	t.Helper()
	l := &line{rows: map[int]int{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		var in []int
		for _, match := range tutorial.FindAllSubmatch(body, -1) {
			n, _ := strconv.Atoi(string(match[1])) // It is made of digits.
			in = append(in, n)
		}
		if l.look != nil {
			if status := l.look(in); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		l.fake.ServeHTTP(w, r)
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, n := range in {
			l.rows[n]++
		}
	}))
	t.Cleanup(server.Close)
	if s.source == "" {
		s.source = "page_size: 10\nlookback: 0s"
	}
	s.segment = "batch_size: 10\nconcurrency: 8\n" + s.segment + "\nendpoint: " + server.URL
	l.world = newWorld(t, s)
	l.plain(t)
	l.exec(t, `insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at)
		select n, 'view', 'u', n, timestamptz '2026-01-01Z' + n * interval '1 s', timestamptz '2026-01-01Z' + n * interval '1 s'
		from generate_series(1, $1::int) n`, rows)
	_, err := l.loader(t).Migrate(t.Context(), l.cfg.Sources[0], ledger.MigrateOptions{Create: true})
	require.NoError(t, err)
	l.made = true
	return l
}

// through reports how many rows were let through, and how often row n was.
func (l *line) through(n int) (all, times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.rows), l.rows[n]
}

// hold makes the recording of row 15, of the second page, wait, and then do what is given in PL/pgSQL, until release is
// called.
func (l *line) hold(t *testing.T, then string) (release func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), l.url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	_, err = conn.Exec(t.Context(), "select pg_advisory_lock(4711)")
	require.NoError(t, err)
	l.exec(t, `create function candu_test.hold() returns trigger language plpgsql as $$ begin
			if new.tutorial_id = 15 then perform pg_advisory_xact_lock(4711); `+then+` end if;
			return new;
		end $$;
		create trigger hold before insert on candu_test.screens for each row execute function candu_test.hold()`)
	return func() { require.NoError(t, conn.Close(t.Context())) }
}

// passed counts the rows at or below the watermark that are in neither place.
const passed = `select count(*) from candu_interactions e, candu_test.loader_state s
	where (e.exported_at, e.id) <= (s.watermark_at, coalesce(s.watermark_id::bigint, 0))
	  and e.id::text not in (select loader_interaction_id from candu_test.screens union all select interaction_id from candu_test.loader_rejects)`

// What was delivered behind a page that was not is mirrored, and the watermark stays before it.
func TestRun_TheWatermarkStaysBeforeAGap(t *testing.T) {
	t.Parallel()
	l := newLine(t, 200, "retry_for: 1s")
	refuse := func(rows []int) int {
		if rows[0] != 21 {
			return 0
		}
		loadertest.Eventually(t, func() bool { _, later := l.through(35); return later > 0 }, "the page after it to be delivered")
		return http.StatusServiceUnavailable
	}
	l.look = refuse
	_, err := l.try(t, loader.RunOptions{})
	require.Error(t, err)
	require.Equal(t, "1", l.one(t, "select count(*) from candu_test.screens where tutorial_id = 35"))
	require.Equal(t, "0", l.one(t, passed))
	require.Equal(t, "20", l.one(t, "select watermark_id from candu_test.loader_state"))
	require.Equal(t, "2026-01-01 00:00:20", l.one(t, "select watermark_after at time zone 'UTC' from candu_test.loader_runs"))
	l.look = nil
	l.run(t)
	l.settled(t, "candu_interactions", "id")
}

// When a group could not be recorded, none that comes after it is; until then no more than six
// pages leave for Segment, which is what a crash sends again.
func TestRun_NothingIsRecordedAfterAGroupThatFailed(t *testing.T) {
	t.Parallel()
	l := newLine(t, 400, "")
	release := l.hold(t, "raise 'no';")
	ended := make(chan loader.Summary, 1)
	go func() {
		summary, _ := l.try(t, loader.RunOptions{}) // Its status says it.
		ended <- summary
	}()
	recorded := func() int { n, _ := strconv.Atoi(l.one(t, "select count(*) from candu_test.screens")); return n }
	loadertest.Eventually(t, func() bool { all, _ := l.through(0); return all >= 40+recorded() }, "pages behind the group that is recorded")
	require.Never(t, func() bool { all, _ := l.through(0); return all > 60+recorded() }, 300*time.Millisecond, 10*time.Millisecond)
	release()
	summary := loadertest.Receive(t, ended, "the run to end")
	require.EqualValues(t, "failed", summary.Status)
	require.LessOrEqual(t, recorded(), 10)
	require.Equal(t, "0", l.one(t, "select count(*) from candu_test.screens where tutorial_id > 10"))
	require.Equal(t, "true", l.one(t, "select watermark_id is null or watermark_id = '10' from candu_test.loader_state"))
	require.Equal(t, strconv.Itoa(recorded())+" 0", l.one(t, "select rows_read || ' ' || rejected from candu_test.loader_runs"), "nothing is counted that was not recorded")
}

// A row that is exported again while its first reading is being recorded is not sent twice.
func TestRun_ARowIsInFlightUntilItIsRecorded(t *testing.T) {
	t.Parallel()
	l := newLine(t, 100, "")
	release := l.hold(t, "")
	var once sync.Once
	l.look = func([]int) int {
		once.Do(func() {
			l.exec(t, "update candu_interactions set exported_at = '2026-01-01Z'::timestamptz + interval '55.5 s' where id = 1")
		})
		return 0
	}
	ended := make(chan loader.Summary, 1)
	go func() {
		summary, _ := l.try(t, loader.RunOptions{}) // Its status says it.
		ended <- summary
	}()
	loadertest.Eventually(t, func() bool { _, later := l.through(57); return later > 0 }, "the page to which the row has moved")
	release()
	summary := loadertest.Receive(t, ended, "the run to end")
	require.EqualValues(t, "succeeded", summary.Status)
	_, times := l.through(1)
	require.Equal(t, 1, times)
	l.exec(t, "drop trigger hold on candu_test.screens")
	l.settled(t, "candu_interactions", "id")
}

// A row that is mended and exported again while the run that rejected it goes on ends in the
// mirror alone.
func TestRun_AMendedRowLeavesTheRejects(t *testing.T) {
	t.Parallel()
	l := newLine(t, 200, "")
	l.exec(t, "update candu_interactions set kind = 'hover' where id = 5")
	var once sync.Once
	l.look = func([]int) int {
		// No more than three pages are read by now.
		once.Do(func() {
			l.exec(t, "update candu_interactions set kind = 'view', exported_at = '2026-01-01Z'::timestamptz + interval '95.5 s' where id = 5")
		})
		return 0
	}
	require.EqualValues(t, 200, l.run(t).Sent)
	l.settled(t, "candu_interactions", "id")
}
