package loader_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/pipeline"
	"github.com/candu-loader/candu-loader/loader/segment"
)

const keyState = `select coalesce(write_key_known::text, 'NULL') || ' ' || (write_key_hash is not null) || ' ' || (write_key_asked_at is not null) from candu_test.loader_state`

// Segment would answer 200 to a key that it does not know, and drop the events: the mirror and
// verify would call them delivered.
func TestRun_AsksForTheKeyBeforeTheFirstEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{fake: fakesegment.Options{WriteKeys: []string{"good", "better"}}})
	w.cfg.Segment.CDN = w.fake.URL()
	w.sample(t, loadertest.Export{Rows: 300})
	for n := range 2 {
		_, err := w.try(t, loader.RunOptions{})
		require.ErrorIs(t, err, segment.ErrUnknownKey)
		require.True(t, fault.Is(err, fault.Precondition))
		require.Contains(t, fault.HintOf(err), "segment.cdn_endpoint: none")
		require.NotContains(t, w.one(t, "select error from candu_test.loader_runs order by id desc limit 1"), "/key/")
		require.EqualValues(t, n+1, w.fake.Stats().KeysAsked, "a source may be made in Segment at any time")
	}
	require.Zero(t, w.fake.Stats().Requests)
	require.Empty(t, w.list(t, mirrored))
	require.Equal(t, "false false true", w.one(t, keyState))

	w.cfg.Sources[0].WriteKey = "good"
	w.run(t)
	w.settled(t, "candu_interactions", "id")
	require.Equal(t, "true true true", w.one(t, keyState))
	require.EqualValues(t, 3, w.fake.Stats().KeysAsked, "it is known now")

	w.cfg.Sources[0].WriteKey = "better"
	_, err := w.loader(t).Migrate(t.Context(), w.cfg.Sources[0], ledger.MigrateOptions{KeyRotated: true})
	require.NoError(t, err)
	w.insert(t, 1_000, time.Now()) // A run that sends nothing waits for no answer.
	w.run(t)
	require.EqualValues(t, 4, w.fake.Stats().KeysAsked, "the key changed")
}

func TestRun_GoesOnWhereNobodyCanTell(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	var asked atomic.Int64
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(cdn.Close)
	w.cfg.Segment.CDN = cdn.URL
	w.sample(t, loadertest.Export{Rows: 300})
	w.run(t)
	require.Contains(t, w.log.String(), "nobody could tell whether Segment knows the write key")
	require.Contains(t, w.log.String(), "answer 503")
	require.Equal(t, "NULL true true", w.one(t, keyState))
	w.settled(t, "candu_interactions", "id")
	require.EqualValues(t, 1, asked.Load(), "not each time")
	w.exec(t, "update candu_test.loader_state set write_key_asked_at = write_key_asked_at - interval '24 hours'")
	w.insert(t, 1_000, time.Now()) // A run that sends nothing waits for no answer.
	w.run(t)
	require.EqualValues(t, 2, asked.Load())
}

// The question costs no time: it is under way while the first page is read.
func TestRun_ReadsWhileItAsksForTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	read := make(chan struct{})
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-read:
			w.WriteHeader(http.StatusNotFound)
		case <-r.Context().Done(): // Then it is not known, and the run goes on.
		}
	}))
	t.Cleanup(cdn.Close)
	w.cfg.Segment.CDN = cdn.URL
	w.sample(t, loadertest.Export{Rows: 300})
	var first atomic.Bool
	_, err := w.try(t, loader.RunOptions{Timed: func(step pipeline.Step, _ time.Duration) {
		if step == pipeline.StepRead && first.CompareAndSwap(false, true) {
			close(read)
		}
	}})
	require.ErrorIs(t, err, segment.ErrUnknownKey)
	require.Zero(t, w.fake.Stats().Requests, "no event leaves before the answer is there")
}

// Nobody is asked on behalf of a stand-in, or where the config says so.
func TestRun_AsksNobody(t *testing.T) {
	t.Parallel()
	for _, lines := range []string{"", "cdn_endpoint: none"} {
		w := newWorld(t, settings{segment: lines, fake: fakesegment.Options{WriteKeys: []string{"another"}}})
		w.sample(t, loadertest.Export{Rows: 30})
		require.Empty(t, w.cfg.Segment.CDN)
		w.run(t)
		require.Zero(t, w.fake.Stats().KeysAsked)
		require.EqualValues(t, 30, w.fake.Stats().Dropped, "the trap: Segment says yes")
		require.Equal(t, "NULL true false", w.one(t, keyState))
		require.Contains(t, w.check(t), "write_key_not_asked")
	}
}

func TestConfig_CDN(t *testing.T) {
	t.Parallel()
	for lines, want := range map[string]string{
		"": "https://cdn.segment.com", "{cdn_endpoint: ''}": "https://cdn.segment.com", "{cdn_endpoint: none}": "", "{cdn_endpoint: 'http://localhost:1/'}": "http://localhost:1",
		"{endpoint: 'http://127.0.0.1:1'}": "", "{endpoint: 'http://127.0.0.1:1', cdn_endpoint: https://cdn.segment.com}": "https://cdn.segment.com",
	} {
		cfg, err := config.Parse("x.yaml", []byte(strings.Join([]string{"warehouse: {url: postgres://db/x}", "segment: " + lines, "sources: [{nickname: A, write_key: k}]"}, "\n")), func(string) (string, bool) { return "", false })
		require.NoError(t, err, lines)
		require.Equal(t, want, cfg.Segment.CDN, lines)
	}
}
