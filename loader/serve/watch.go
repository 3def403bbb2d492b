package serve

import (
	"sync"
	"time"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/pipeline"
	"github.com/candu-loader/candu-loader/loader/status"
)

// memory is what this process remembers of its sources. It implements scheduler.Watcher.
type memory struct {
	metrics *metrics
	// succeeded is told of each run that did.
	succeeded func()

	mu      sync.Mutex
	sources map[string]status.Memory
}

// inherit takes over what another one remembers and no run tells again.
func (m *memory) inherit(before *memory) {
	before.mu.Lock()
	defer before.mu.Unlock()
	for nickname, source := range before.sources {
		m.sources[nickname] = status.Memory{CaughtUpAt: source.CaughtUpAt, AwaySince: source.AwaySince}
	}
}

// recall returns what is remembered of a source.
func (m *memory) recall(src *config.Source) status.Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sources[src.Nickname]
}

func (m *memory) change(src *config.Source, how func(*status.Memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	source := m.sources[src.Nickname]
	how(&source)
	m.sources[src.Nickname] = source
}

// asked remembers what the databases said of a source.
func (m *memory) asked(src *config.Source, s *status.Source) {
	m.change(src, func(source *status.Memory) {
		source.Waiting = s.Waiting
		if s.Err == nil {
			source.AwaySince = time.Time{}
		} else if source.AwaySince.IsZero() {
			source.AwaySince = time.Now()
		}
		if s.Migrated {
			source.CaughtUpAt = nil
			if s.LagSeconds != nil {
				source.CaughtUpAt = new(time.Now().Add(-time.Duration(*s.LagSeconds * float64(time.Second))))
			}
		}
	})
}

// Progress implements scheduler.Watcher.
func (m *memory) Progress(src *config.Source, p loader.Progress) {
	m.metrics.count(src, p.Counters, false)
	m.change(src, func(source *status.Memory) { source.Expected = p.Expected })
}

// Timed implements scheduler.Watcher.
func (m *memory) Timed(src *config.Source, step pipeline.Step, took time.Duration) {
	m.metrics.pageSeconds.WithLabelValues(src.Nickname, string(step)).Observe(took.Seconds())
}

// Ended implements scheduler.Watcher.
func (m *memory) Ended(src *config.Source, s loader.Summary, err error, retry time.Time) {
	m.metrics.ended(src, s, err)
	m.change(src, func(source *status.Memory) {
		source.RetryAt, source.Expected = retry, 0
		switch {
		case err == nil:
			source.Err, source.FailingSince = nil, time.Time{}
		case fault.Is(err, fault.Busy) || fault.Is(err, fault.Interrupted):
		default:
			if source.Err == nil {
				source.FailingSince = time.Now()
			}
			source.Err = err
		}
	})
	if err == nil {
		m.succeeded()
	}
}

// Slots implements scheduler.Watcher.
func (m *memory) Slots(src *config.Source, status ledger.SlotStatus, n int) {
	m.metrics.slots.WithLabelValues(src.Nickname, string(status)).Add(float64(n))
}
