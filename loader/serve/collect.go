package serve

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/status"
	"github.com/candu-loader/candu-loader/loader/statuspage"
)

const (
	// viewFor is how long a view is shown to everybody before the databases are
	// asked again, so that many readers cost as much as one.
	viewFor = 3 * time.Second
	// askTimeout bounds asking the databases for one source.
	askTimeout = 10 * time.Second
	// askAtOnce bounds how many sources are asked side by side.
	askAtOnce = 4
)

// collector makes the view of one generation's sources. Close it when done.
type collector struct {
	loader *loader.Loader
	config *config.Config
	memory *memory
	// trouble is what concerns the whole process.
	trouble func() []status.Failure
	// counting is the life of what is counted beside a view.
	counting context.Context //nolint:containedctx // It ends with close.
	close    context.CancelFunc

	mu   sync.Mutex
	view statuspage.View
	// viewed is when, by this machine's clock.
	viewed time.Time
	days   map[string]*days
}

func newCollector(l *loader.Loader, cfg *config.Config, m *memory, trouble func() []status.Failure) *collector {
	c := &collector{loader: l, config: cfg, memory: m, trouble: trouble, days: map[string]*days{}}
	c.counting, c.close = context.WithCancel(context.Background())
	for _, src := range cfg.Sources {
		c.days[src.Nickname] = &days{}
	}
	return c
}

// View returns a view that is not older than viewFor. A database that does not answer
// while ctx allows it is trouble, and stands in the view.
func (c *collector) View(ctx context.Context) statuspage.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.viewed) < viewFor {
		return c.view
	}
	sources := c.config.Sources
	view := statuspage.View{Version: loader.Version, Trouble: append([]status.Failure{}, c.trouble()...), Sources: make([]statuspage.Source, len(sources))}
	var group errgroup.Group
	group.SetLimit(askAtOnce)
	for i, src := range sources {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			view.Sources[i] = c.source(ctx, src)
			return nil
		})
	}
	_ = group.Wait() // Trouble stands in the view.
	view.At = time.Now()
	for i := range view.Sources {
		// All of them stand in one warehouse: its clock is what ages are counted by.
		if s := &view.Sources[i]; s.Err == nil && s.Migrated {
			view.At = s.At
		}
	}
	if !errors.Is(ctx.Err(), context.Canceled) {
		c.view, c.viewed = view, time.Now()
	}
	return view
}

// source asks for everything about one source.
func (c *collector) source(ctx context.Context, src *config.Source) statuspage.Source {
	s := statuspage.Source{Source: c.loader.Status(ctx, src, c.memory.recall(src)), Days: []ledger.Day{}}
	c.memory.asked(src, &s.Source)
	if s.Err == nil && s.Migrated {
		days, asOf := c.days[src.Nickname].get(c.counting, &s.Source, func(ctx context.Context, from, to time.Time) ([]ledger.Day, error) {
			return c.loader.Days(ctx, src, from, to)
		})
		s.Days, s.DaysAsOf = append(s.Days, days...), asOf
	}
	return s
}
