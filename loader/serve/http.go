package serve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/statuspage"
)

// viewTimeout bounds how long a reader waits for the databases.
const viewTimeout = 5 * time.Second

// policy lets the page load its own files and nothing else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// handler answers everything. The probes ask nobody who they are: they say nothing
// but yes or no, and those who probe rarely have a password.
func (s *server) handler() http.Handler {
	open := http.NewServeMux()
	open.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	open.HandleFunc("/readyz", s.ready)

	closed := http.NewServeMux()
	closed.HandleFunc("/{$}", s.page)
	closed.HandleFunc("/api/status", s.status)
	closed.Handle("/assets/", statuspage.Assets())
	closed.HandleFunc("/metrics", s.metricsPage)
	open.Handle("/", s.guard(closed))
	return readOnly(open)
}

// readOnly refuses everything but reading, and has browsers load and keep as little as can be.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "this server is read-only", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guard asks for user and password (RFC 7617) if the config has them.
func (s *server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var h config.HTTP
		s.with(func(g *generation) { h = g.config.HTTP })
		if !admitted(h, r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="candu-loader", charset="UTF-8"`)
			http.Error(w, "user and password required", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// admitted compares in constant time, whatever the lengths.
func admitted(h config.HTTP, r *http.Request) bool {
	if h.User == "" {
		return true
	}
	user, password, ok := r.BasicAuth()
	same := func(given, want string) int {
		a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(want))
		return subtle.ConstantTimeCompare(a[:], b[:])
	}
	return ok && same(user, h.User)&same(password, h.Password.Reveal()) == 1
}

// page shows the status page.
func (s *server) page(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, "text/html; charset=utf-8", statuspage.Render)
}

// status is the page for machines.
func (s *server) status(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, "application/json", func(out io.Writer, view statuspage.View) error {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(view)
	})
}

// show answers with the view, written whole or not at all.
func (s *server) show(w http.ResponseWriter, r *http.Request, kind string, write func(io.Writer, statuspage.View) error) {
	var text bytes.Buffer
	if err := write(&text, s.view(r.Context())); err != nil {
		s.log.Error("writing the status", "error", err)
		http.Error(w, "the status can't be shown; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	_, _ = text.WriteTo(w)
}

// metricsPage answers Prometheus.
func (s *server) metricsPage(w http.ResponseWriter, r *http.Request) {
	live := prometheus.NewRegistry()
	view := s.view(r.Context())
	// The answer may take its time; nobody should wait for it with the lock held.
	s.with(func(g *generation) { live.MustRegister(gauges{view: view, sending: g.loader.Stats()}) })
	promhttp.HandlerFor(prometheus.Gatherers{s.metrics.registry, live}, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

// ready says whether the databases answer.
func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), viewTimeout)
	defer cancel()
	var databases []loader.Readiness
	status := http.StatusOK
	var text strings.Builder
	guarded := false // Those who may not read the page are told the kind of an error alone.
	s.with(func(g *generation) {
		databases, guarded = g.probe.ask(ctx, g.loader), g.config.HTTP.User != ""
		if s.stopping {
			status = http.StatusServiceUnavailable
			text.WriteString("stopping\n")
		}
	})
	for _, r := range databases {
		state := "ok"
		if r.Err != nil {
			status, state = http.StatusServiceUnavailable, r.Err.Error()
			if guarded {
				state = fault.KindOf(r.Err).String()
			}
		}
		fmt.Fprintf(&text, "%s: %s\n", r.Database, state)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text.String())
}

// probe remembers for a moment which databases answered: probes come often, and from
// several places.
type probe struct {
	mu        sync.Mutex
	at        time.Time
	databases []loader.Readiness
}

const probeFor = 5 * time.Second

func (p *probe) ask(ctx context.Context, l *loader.Loader) []loader.Readiness {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.at) > probeFor {
		p.databases, p.at = l.Ready(ctx), time.Now()
	}
	return p.databases
}
