// Package serve is the long-running loader: the scheduler, with health, metrics, the
// status page and alerts around it.
package serve

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/alert"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/scheduler"
	"github.com/candu-loader/candu-loader/loader/status"
	"github.com/candu-loader/candu-loader/loader/statuspage"
)

// Options say what to serve.
type Options struct {
	Config *config.Config
	// Load reads the config again, when Reload asks for it; both may be nil.
	Load   func() (*config.Config, error)
	Reload <-chan struct{}
	Log    *slog.Logger
	// Listening is told the address, which may have a port of the system's choice;
	// nil = nobody asks.
	Listening func(net.Addr)
}

// server is one process. What a reload changes is in its generation.
type server struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics

	// mu is held for reading while a generation is used, and for writing while it
	// is replaced.
	mu       sync.RWMutex
	now      *generation
	stopping bool
	// refused is the trouble of the last reload, nil if it was accepted.
	refused atomic.Pointer[status.Failure]
}

// generation is everything that is made of one config.
type generation struct {
	config    *config.Config
	loader    *loader.Loader
	scheduler *scheduler.Scheduler
	collector *collector
	alerts    *alerts
	probe     probe
	http      *http.Server
	listener  net.Listener

	cancel context.CancelCauseFunc
	done   chan struct{}
}

var errReload = errors.New("the config is reloaded")

// Run serves until ctx is done. Then runs under way end as [loader.Loader.Run] says,
// and the error is of kind [fault.Interrupted]. Before it began to serve, the error is
// of kind [fault.Config] or, if the address can't be had, [fault.Precondition].
//
// On a reload, runs under way are interrupted, which loses nothing, and go on with the
// new config. A config that is refused changes nothing, and stands on the status page.
func Run(ctx context.Context, opts Options) error {
	s := &server{opts: opts, log: opts.Log, metrics: newMetrics()}
	first, err := s.replace(nil, opts.Config)
	if err != nil {
		return err
	}
	s.now = first
	s.start(ctx, first)
	for {
		select {
		case <-ctx.Done():
			s.stop()
			return fault.Wrap(fault.Interrupted, context.Cause(ctx), "interrupted")
		case <-opts.Reload:
			s.reload(ctx)
		}
	}
}

// replace makes a generation that takes the place of another, if there is one.
func (s *server) replace(before *generation, cfg *config.Config) (*generation, error) {
	g, err := s.generation(cfg)
	if err == nil && (before == nil || before.config.HTTP.Listen != cfg.HTTP.Listen) {
		if g.listener, err = listen(cfg.HTTP.Listen); err != nil {
			g.close(context.Background())
		}
	}
	return g, err
}

// generation makes one of a config. It does not listen.
func (s *server) generation(cfg *config.Config) (*generation, error) {
	if err := check(cfg); err != nil {
		return nil, err
	}
	sender, err := alert.NewSender(cfg.Alerts, s.log)
	if err != nil {
		return nil, err
	}
	g := &generation{config: cfg, loader: loader.New(cfg, s.log).Hasty(), done: make(chan struct{})}
	memory := &memory{metrics: s.metrics, succeeded: func() { g.alerts.succeeded() }, sources: map[string]status.Memory{}}
	if s.now != nil {
		memory.inherit(s.now.collector.memory)
	}
	g.scheduler = scheduler.New(g.loader, cfg.Sources, s.log, memory)
	g.collector = newCollector(g.loader, cfg, memory, s.trouble)
	g.alerts = &alerts{
		loader: g.loader, collector: g.collector, sender: sender, metrics: s.metrics, log: s.log,
		successes: make(chan struct{}, 1), away: map[string]alert.State{},
	}
	for _, src := range cfg.Sources {
		s.metrics.know(src)
	}
	return g, nil
}

// check refuses a config that has nothing to serve.
func check(cfg *config.Config) error {
	if slices.ContainsFunc(cfg.Sources, func(src *config.Source) bool { return src.Schedule != nil || src.Verify.Schedule != nil }) {
		return nil
	}
	return fault.New(fault.Config, "no source in %s has a schedule", cfg.Path).
		WithHint("Give each source that serve is to run one, for example:  schedule: \"@hourly\"")
}

func listen(address string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Precondition, Text: "listening for http", Err: err,
			Hint: "Choose another `listen:` under `http:` in the config, or end the program that has this one."}
	}
	return listener, nil
}

// start begins a generation's work.
func (s *server) start(ctx context.Context, g *generation) {
	ctx, g.cancel = context.WithCancelCause(ctx)
	if g.listener != nil {
		g.http = &http.Server{
			Handler: s.handler(), ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
			ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
			IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		}
		go func() {
			if err := g.http.Serve(g.listener); !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("answering http", "error", err)
			}
		}()
		s.log.Info("serving", "address", g.listener.Addr().String(), "version", loader.Version)
		if s.opts.Listening != nil {
			s.opts.Listening(g.listener.Addr())
		}
	}
	go func() {
		defer close(g.done)
		var wg sync.WaitGroup
		wg.Go(func() { g.scheduler.Run(ctx) })
		wg.Go(func() { g.alerts.run(ctx) })
		wg.Wait()
	}()
}

// reload replaces the generation by one of the config as it is now.
func (s *server) reload(ctx context.Context) {
	cfg, err := s.opts.Load()
	var next *generation
	before := s.now
	if err == nil {
		next, err = s.replace(before, cfg)
	}
	if err != nil {
		s.metrics.reloads.WithLabelValues("refused").Inc()
		s.log.Error("reloading the config; the previous one stays in force", fault.Attrs(err)...)
		s.refused.Store(&status.Failure{Error: "the config was not reloaded: " + err.Error(), Hint: fault.HintOf(err), Since: time.Now()})
		return
	}
	before.cancel(errReload)
	<-before.done

	s.mu.Lock()
	s.now = next
	s.refused.Store(nil)
	if next.listener == nil {
		next.http = before.http
		before.http = nil
	}
	s.mu.Unlock()
	before.close(ctx)
	s.start(ctx, next)
	s.metrics.reloads.WithLabelValues("accepted").Inc()
	s.log.Info("the config was reloaded", "sources", len(cfg.Sources))
}

// close ends what a generation holds. Nothing of it may be in use.
func (g *generation) close(ctx context.Context) {
	if g.http != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), viewTimeout)
		defer cancel()
		if g.http.Shutdown(ctx) != nil {
			_ = g.http.Close()
		}
	}
	g.collector.close()
	g.loader.Close()
}

// stop waits for the runs under way, whose context is done, while the page still
// answers.
func (s *server) stop() {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	<-s.now.done
	s.now.close(context.Background())
}

// with lends the generation.
func (s *server) with(do func(*generation)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	do(s.now)
}

// view does not stop asking because one reader went away: the next gets the answer.
func (s *server) view(ctx context.Context) (view statuspage.View) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), viewTimeout)
	defer cancel()
	s.with(func(g *generation) { view = g.collector.View(ctx) })
	return view
}

// trouble is what concerns the whole process.
func (s *server) trouble() []status.Failure {
	if refused := s.refused.Load(); refused != nil {
		return []status.Failure{*refused}
	}
	return nil
}
