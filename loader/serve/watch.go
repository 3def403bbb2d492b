package serve

import (
	"sync"
	"time"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/pipeline"
)

// memory is what this process remembers of its sources: what stands in no table,
// such as an error that kept a run from beginning. It implements scheduler.Watcher.
type memory struct {
	metrics *metrics
	// succeeded is told of each run that did.
	succeeded func(*config.Source)

	mu      sync.Mutex
	sources map[string]*recollection
}

// recollection is what is remembered of one source.
type recollection struct {
	// failedSince is when the first of the attempts failed that have failed since the
	// last success; zero = the last one succeeded.
	failedSince time.Time
	err         error
	retryAt     time.Time
	// progress of the run under way.
	progress loader.Progress
}

func newMemory(m *metrics, succeeded func(*config.Source)) *memory {
	return &memory{metrics: m, succeeded: succeeded, sources: map[string]*recollection{}}
}

// of returns a source's recollection; the lock must be held.
func (m *memory) of(src *config.Source) *recollection {
	r := m.sources[src.Nickname]
	if r == nil {
		r = &recollection{}
		m.sources[src.Nickname] = r
	}
	return r
}

// recall returns what is remembered of a source.
func (m *memory) recall(src *config.Source) recollection {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.of(src)
}

// Progress implements scheduler.Watcher.
func (m *memory) Progress(src *config.Source, p loader.Progress) {
	m.metrics.count(src, p.Counters, false)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(src).progress = p
}

// Timed implements scheduler.Watcher.
func (m *memory) Timed(src *config.Source, step pipeline.Step, took time.Duration) {
	m.metrics.timed(src, step, took)
}

// Ended implements scheduler.Watcher.
func (m *memory) Ended(src *config.Source, s loader.Summary, err error, retry time.Time) {
	m.metrics.ended(src, s, err)
	m.mu.Lock()
	r := m.of(src)
	r.retryAt, r.progress = retry, loader.Progress{}
	switch {
	case err == nil:
		r.failedSince, r.err = time.Time{}, nil
	case fault.Is(err, fault.Busy) || fault.Is(err, fault.Interrupted):
	default:
		if r.failedSince.IsZero() {
			r.failedSince = time.Now()
		}
		r.err = err
	}
	m.mu.Unlock()
	if err == nil {
		m.succeeded(src)
	}
}

// Slots implements scheduler.Watcher.
func (m *memory) Slots(src *config.Source, status ledger.SlotStatus, n int) {
	m.metrics.slots.WithLabelValues(src.Nickname, string(status)).Add(float64(n))
}
