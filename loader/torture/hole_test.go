//go:build unix

package torture_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// hole is a network between a loader and its server that swallows everything from a certain place
// on: no byte comes through any more, and nobody is told, not even when the loader is dead.
type hole struct {
	address string
	// opened is closed when that place was reached.
	opened chan struct{}

	once sync.Once
	mu   sync.Mutex
	open []net.Conn
}

// dig makes a hole before a server. It opens in the middle of what follows the n-th mark that the
// loader sends on any connection.
func dig(t *testing.T, server, mark string, n int) *hole {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h := &hole{address: listener.Addr().String(), opened: make(chan struct{})}
	t.Cleanup(func() {
		_ = listener.Close()
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, conn := range h.open {
			_ = conn.Close()
		}
	})
	left := n
	reached := func(found int) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		left -= found
		return found > 0 && left <= 0
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			backend, err := net.Dial("tcp", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			h.mu.Lock()
			h.open = append(h.open, client, backend)
			h.mu.Unlock()
			go h.pass(backend, client, []byte(mark), reached)
			go h.pass(client, backend, nil, nil)
		}
	}()
	return h
}

// pass moves bytes until the hole opens. Of the piece with the mark half of what follows it gets
// through.
func (h *hole) pass(to, from net.Conn, mark []byte, reached func(found int) bool) {
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		select {
		case <-h.opened:
			_, _ = io.Copy(io.Discard, from) // Whoever sends believes that it arrives.
			return
		default:
		}
		sent := piece[:n]
		if mark != nil && reached(bytes.Count(sent, mark)) {
			end := bytes.Index(sent, mark) + len(mark)
			h.once.Do(func() { close(h.opened) })
			_, _ = to.Write(sent[:end+(n-end)/2])
			continue
		}
		if _, writeErr := to.Write(sent); err != nil || writeErr != nil {
			_, _ = from.Close(), to.Close()
			return
		}
	}
}

// statements are those of a page, in their order, by a text that is in no other.
var statements = []struct {
	name, mark string
	nth        int
}{
	{"asking what was delivered", "name: MirrorBetween", 2},
	{"beginning to record", "loader_state for update", 3},
	{"copying screens", "copy screens", 3},
	{"copying tracks", "copy tracks", 3},
	{"copying interactions", "copy tutorial_interaction", 3},
	{"recording rejects", "name: RejectsPut", 2},
	{"moving the watermark", "name: RunAdvance", 3},
	{"beginning a run", "name: RunOpen", 1},
	{"ending a run", "name: RunFinish", 1},
}

// vanish starts a loader, whose machine vanishes in the middle of a statement.
func vanish(t *testing.T, w *world, mark string, nth int) {
	t.Helper()
	h := dig(t, w.server.Address(), mark, nth)
	w.configure(t, w.at(t, h.address), w.direct, pageSettings, batchSettings)
	r := w.start(t)
	select {
	case <-h.opened:
	case <-r.ended:
		require.FailNow(t, "the run ended before "+mark+"; it said:\n"+r.output.String())
	case <-time.After(patience()):
		require.FailNow(t, "waiting for "+mark+"; the run said:\n"+r.output.String())
	}
	r.signal(t, syscall.SIGKILL)
	r.wait(t)
	w.configure(t, w.direct, w.direct, pageSettings, batchSettings)
	w.expire(t)
}

const pageSettings, batchSettings = "page_size: 200, lookback: 1h", "batch_size: 100"

// A loader's machine vanishes in the middle of each statement of a page, behind a firewall that
// swallows: the one that takes over does not wait for what is left of it.
func TestBlackHoles(t *testing.T) {
	t.Parallel()
	for _, at := range statements {
		t.Run(at.name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, pageSettings, batchSettings)
			sample(t, w, 3_000, 1)
			w.exec(t, "update candu_interactions set kind = 'hover' where id % 50 = 0")
			w.load(t)
			sample(t, w, 2_000, 3_001)
			w.exec(t, "update candu_interactions set kind = 'hover' where id % 50 = 0")
			before := w.number(t, mirrored)
			vanish(t, w, at.mark, at.nth)
			began := time.Now()
			r := w.start(t)
			loadertest.Eventually(t, func() bool { return w.number(t, mirrored) >= before+1_900 || r.ends(0) }, "the successor to record")
			require.Zero(t, r.wait(t), "%s", r.output)
			require.Less(t, time.Since(began), time.Minute)
			total.recovery(time.Since(began))
			w.settle(t, inFlight(200))
		})
	}
}

// The suite bites: without ending what is left of the one before, its successor waits.
func TestBlackHoles_BiteWithoutTakeover(t *testing.T) {
	t.Parallel()
	w := setup(t, pageSettings, batchSettings)
	sample(t, w, 3_000, 1)
	w.load(t)
	sample(t, w, 2_000, 3_001)
	vanish(t, w, "copy screens", 2)
	w.start(t, "CANDU_FAILPOINT_WITHOUT=takeover")
	const waits = `select count(*) from pg_stat_activity where datname = current_database() and application_name like 'candu-loader%' and wait_event_type = 'Lock'`
	loadertest.Eventually(t, func() bool { return w.number(t, waits) > 0 },
		"a successor to wait for locks without the mechanism, or this suite proves nothing")
}
