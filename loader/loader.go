// Package loader moves interactions from the export to Segment and into the
// mirror. It is what the commands call: it decides when to read, send and record,
// and leaves each of these to its package.
package loader

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
	"github.com/candu-loader/candu-loader/loader/segment"
	"github.com/candu-loader/candu-loader/loader/source"
)

// Loader works for all sources of one configuration. What they share (the rate
// limit, the connections to Segment and to the warehouse) is shared here. It is safe
// for concurrent use.
type Loader struct {
	config  *config.Config
	log     *slog.Logger
	gateway *segment.Gateway
	turns   turns

	mu        sync.Mutex
	warehouse *pgxpool.Pool
	// hasty is true if what passes is said at once, where nothing is under way.
	hasty bool
}

// Hasty has the loader say at once that a database restarts, where a command waits for it: serve looks
// again by itself. It returns the loader.
func (l *Loader) Hasty() *Loader {
	l.hasty = true
	return l
}

// again tells of what is waited out; nil if nothing is.
func (l *Loader) again() func(err error, wait time.Duration) {
	if l.hasty {
		return nil
	}
	return func(err error, wait time.Duration) {
		l.log.Warn("retrying: a database did not answer", "error", err, "wait", wait)
	}
}

// New returns a loader. It does not connect. Close it when done.
func New(cfg *config.Config, log *slog.Logger) *Loader {
	warnURLs(cfg, log)
	return &Loader{
		config: cfg, turns: usualTurns,
		log: log,
		gateway: segment.NewGateway(segment.Config{
			Endpoint: cfg.Segment.Endpoint, Concurrency: cfg.Segment.Concurrency, BatchSize: cfg.Segment.BatchSize,
			MaxEventsPerSecond: cfg.Segment.MaxEventsPerSecond, RetryFor: cfg.Segment.RetryFor, Version: Version, Log: log,
		}),
	}
}

// Close closes all connections. Nothing may be under way.
func (l *Loader) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.warehouse != nil {
		l.warehouse.Close()
		l.warehouse = nil
	}
	l.gateway.Close()
}

// ledger connects to the warehouse, if nobody did yet, and returns the source's
// ledger.
func (l *Loader) ledger(ctx context.Context, src *config.Source) (*ledger.Ledger, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.warehouse == nil {
		pool, err := postgres.Open(ctx, l.config.Warehouse.URL, postgres.Options{
			Name: "warehouse", Again: l.again(),
			// Two record, one renews the lease, one asks what was delivered. Four sources load at
			// once, and one may be verified beside them.
			MaxConns: int32(max(6, 4*min(len(l.config.Sources), 6)) + l.verifies()),
		})
		if err != nil {
			return nil, err
		}
		l.warehouse = pool
	}
	return ledger.New(l.warehouse, l.identity(src)).Telling(func(doing, waits, remedy string) {
		l.log.Warn("a transaction takes long", "source", src.Nickname, "doing", doing, "why", waits, "remedy", remedy)
	}), nil
}

// verifies is how many connections a verification beside runs takes: a piece of each table of the mirror, and
// its turn.
func (l *Loader) verifies() int {
	if slices.ContainsFunc(l.config.Sources, func(src *config.Source) bool { return src.Verify.Schedule != nil }) {
		return 4
	}
	return 0
}

// patient is ledger for what only reads: there a restart is waited out.
func (l *Loader) patient(ctx context.Context, src *config.Source) (*ledger.Ledger, error) {
	book, err := l.ledger(ctx, src)
	if err != nil {
		return nil, err
	}
	return book.Patient(l.again()), nil
}

// migrated is patient and the state of a schema that must be there.
func (l *Loader) migrated(ctx context.Context, src *config.Source) (*ledger.Ledger, ledger.State, error) {
	book, err := l.patient(ctx, src)
	if err != nil {
		return nil, ledger.State{}, err
	}
	state, err := book.State(ctx)
	return book, state, err
}

func (l *Loader) identity(src *config.Source) ledger.Identity {
	return ledger.Identity{
		Nickname: src.Nickname, Schema: src.Schema, Namespace: src.MessageNamespace, WriteKey: src.WriteKey, Readers: l.config.Warehouse.Readers,
	}
}

// source opens the export of a source and looks at its table.
func (l *Loader) source(ctx context.Context, src *config.Source) (*source.Source, error) {
	return l.sourceFor(ctx, src, 0)
}

// sourceFor is source with another time limit for each statement; 0 = the usual one.
func (l *Loader) sourceFor(ctx context.Context, src *config.Source, timeout time.Duration) (*source.Source, error) {
	return source.Open(ctx, source.Config{
		URL: src.Interactions.URL, Timeout: timeout, Again: l.again(), PageSize: src.PageSize, SearchPath: src.Interactions.SearchPath, Log: l.log.With("source", src.Nickname),
		Spec: source.Spec{
			Schema: src.Interactions.Table.Schema, Table: src.Interactions.Table.Name,
			Columns: src.Interactions.Columns, ByEventName: src.Interactions.Kinds.ByEventName, Zone: string(src.Interactions.Zone),
		},
	})
}

// Migrate upgrades the source's schema, or creates it if it may.
func (l *Loader) Migrate(ctx context.Context, src *config.Source, opts ledger.MigrateOptions) (ledger.Migration, error) {
	if opts.SetStart {
		if err := l.startOf(ctx, src, &opts); err != nil {
			return ledger.Migration{Schema: src.Schema}, err
		}
	}
	if l.hasty || opts.NewNamespace { // Once more it would be another one.
		return ledger.Migrate(ctx, l.config.Warehouse.MigrateURL, l.identity(src), opts)
	}
	var done ledger.Migration
	err := postgres.Retry(ctx, migrateTimeout, l.again(), func(ctx context.Context) (err error) {
		done, err = ledger.Migrate(ctx, l.config.Warehouse.MigrateURL, l.identity(src), opts)
		return err
	})
	return done, err
}

// MigrationPlan returns the SQL that Migrate would run.
func (l *Loader) MigrationPlan(ctx context.Context, src *config.Source) (ledger.Migration, string, error) {
	var plan ledger.Migration
	var sql string
	err := postgres.Retry(ctx, openTimeout, l.again(), func(ctx context.Context) (err error) {
		plan, sql, err = ledger.Plan(ctx, l.config.Warehouse.MigrateURL, l.identity(src))
		return err
	})
	return plan, sql, err
}

// rules returns what makes events of the source's rows, for the encoder to send.
func rules(src *config.Source, table *source.Table, state ledger.State, encoder *segment.Encoder) *event.Rules {
	kinds := map[string]event.Kind{}
	for _, spelling := range src.Interactions.Kinds.View {
		kinds[spelling] = event.View
	}
	for _, spelling := range src.Interactions.Kinds.Interaction {
		kinds[spelling] = event.Interacted
	}
	return event.NewRules(state.MessageNamespace, kinds, table.HasKind, encoder.Size).Without(state.Forgotten)
}

// warnURLs tells of parameters of URLs that have no effect, once a URL.
func warnURLs(cfg *config.Config, log *slog.Logger) {
	told := map[string]bool{}
	for _, src := range cfg.Sources {
		for _, url := range []secret.URL{cfg.Warehouse.URL, cfg.Warehouse.MigrateURL, src.Interactions.URL} {
			without, _ := postgres.CheckURL(url, false) // What is wrong is said where it is opened.
			if len(without) > 0 && !told[url.Reveal()] {
				told[url.Reveal()] = true
				log.Warn("parameters of a URL have no effect: the driver lacks them", "parameters", strings.Join(without, ", "), "url", postgres.Place(url))
			}
		}
	}
}
