// Package fakesegment is a strict stand-in for Segment's tracking API, for tests, the
// demo and users' CI. It enforces the documented limits
// (https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/), drops
// bad events silently with a 200, as Segment does, dedupes by messageId, and makes
// trouble on demand.
package fakesegment

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The documented limits. A request may have 500 KB; of the two readings the
// smaller one is enforced.
const (
	MaxBatchBytes = 500_000
	MaxEventBytes = 32 << 10
	MaxEvents     = 2_500
)

// Options say how strict the server is and what it remembers.
type Options struct {
	// WriteKeys are the keys it knows; none = any key. Events for another key are answered with
	// 200 and dropped, as Segment does.
	WriteKeys []string
	// RefuseKeys answers 401 to a key that it does not know.
	RefuseKeys bool
	// ClockAhead is how far the clock that its answers tell is ahead of this machine's.
	ClockAhead time.Duration
	// Strict answers 400 to more than 2,500 events, which Segment answers with
	// 200 and drops.
	Strict bool
	// Keep is how many events are kept for /events; 0 = all. Ids are always kept.
	Keep int
	// Forget keeps no events, only ids and numbers.
	Forget bool
	// CountOnly looks at nothing: it counts events and answers 200, as cheaply as
	// it can. For benchmarks.
	CountOnly bool
	// TLS makes Start serve HTTPS with a certificate that nobody signed.
	TLS bool
	// Seed of the faults' dice.
	Seed uint64
	// Log is told of each request that is refused; nil = nobody.
	Log *slog.Logger
}

// Server is the stand-in. It is an [http.Handler], and can serve itself.
type Server struct {
	options     Options
	store       *store
	faults      faults
	mux         *http.ServeMux
	connections atomic.Int64
	clock       atomic.Int64 // nanoseconds ahead
	serving     serving
}

// New returns a server that has seen nothing.
func New(options Options) *Server {
	keep := cmp.Or(options.Keep, math.MaxInt)
	if options.Forget {
		keep = 0
	}
	s := &Server{options: options, store: newStore(keep), mux: http.NewServeMux()}
	s.SetClock(options.ClockAhead)
	s.faults.dice = rand.New(rand.NewPCG(options.Seed, 1))
	s.mux.HandleFunc("POST /v1/batch", s.batch)
	s.mux.HandleFunc("GET /v1/projects/{key}/settings", s.settings)
	s.mux.HandleFunc("GET /stats", s.stats)
	s.mux.HandleFunc("GET /events", s.events)
	s.mux.HandleFunc("DELETE /events", s.reset)
	s.mux.HandleFunc("PUT /faults", s.putFaults)
	s.mux.HandleFunc("DELETE /faults", s.clearFaults)
	return s
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.date(w.Header())
	s.mux.ServeHTTP(w, r)
}

// batch is the tracking API.
func (s *Server) batch(w http.ResponseWriter, r *http.Request) {
	s.store.request()
	if s.options.CountOnly {
		s.count(w, r)
		return
	}
	key, _, ok := r.BasicAuth()
	switch {
	case !ok || key == "":
		s.answer(w, http.StatusBadRequest, "no write key")
		return
	case s.options.RefuseKeys && !s.knows(key):
		s.answer(w, http.StatusUnauthorized, "unknown write key")
		return
	case !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json"):
		s.answer(w, http.StatusBadRequest, "Content-Type must be application/json")
		return
	}
	body := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(body)
	body.Reset()
	if _, err := body.ReadFrom(io.LimitReader(r.Body, 4*MaxBatchBytes)); err != nil {
		panic(http.ErrAbortHandler) // The client went away.
	}
	f := s.faults.draw()
	if s.before(w, r, f) {
		return
	}
	if body.Len() > MaxBatchBytes {
		s.answer(w, http.StatusBadRequest, "batch of more than 500 KB")
		return
	}
	events, ok := parse(body.Bytes())
	if !ok {
		s.answer(w, http.StatusBadRequest, "malformed JSON or empty batch")
		return
	}
	if status, detail := s.refuses(events); status != 0 {
		s.answer(w, status, detail)
		return
	}
	// Of a batch that is too long the real API's page says that it "rejects the
	// event", with a 200. Here that loses the batch.
	if f.Kind == Drop || len(events) > MaxEvents || !s.knows(key) {
		s.store.dropped(len(events))
	} else {
		s.store.accept(events)
	}
	s.after(w, r, f)
}

// knows tells whether there is a source with that write key.
func (s *Server) knows(key string) bool {
	return len(s.options.WriteKeys) == 0 || slices.Contains(s.options.WriteKeys, key)
}

// bodies are buffers for requests; what is kept of them is copied.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// refuses finds what is answered with 400: an event that is too large, or one
// that the test chose.
func (s *Server) refuses(batch []Event) (int, string) {
	if s.options.Strict && len(batch) > MaxEvents {
		return http.StatusBadRequest, "more than 2,500 events"
	}
	for i := range batch {
		if len(batch[i].raw) > MaxEventBytes {
			return http.StatusBadRequest, "event of more than 32 KB"
		}
		if status := s.faults.poisoned(&batch[i]); status != 0 {
			return status, "event refused"
		}
	}
	return 0, ""
}

func (s *Server) answer(w http.ResponseWriter, status int, detail string) {
	s.store.status(status)
	if s.options.Log != nil {
		s.options.Log.Info("refused", "status", status, "detail", detail)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"success": false, "error": detail})
}

// count reads a request as cheaply as possible: each event has one "messageId",
// and so has the batch.
func (s *Server) count(w http.ResponseWriter, r *http.Request) {
	n := countEvents(r.Body) - 1
	f := s.faults.draw()
	if s.before(w, r, f) {
		return
	}
	s.store.counted(n)
	s.after(w, r, f)
}

// settings is the CDN's answer about a write key.
func (s *Server) settings(w http.ResponseWriter, r *http.Request) {
	s.store.asked()
	if !s.knows(r.PathValue("key")) {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"integrations":{}}`)
}

// Stats returns the numbers so far.
func (s *Server) Stats() Stats {
	stats := s.store.numbers()
	stats.Connections = s.connections.Load()
	return stats
}

// Accepted returns the messageIds of the events that were accepted, each once,
// in the order in which they came.
func (s *Server) Accepted() []string { return s.store.ids() }

// Events returns the accepted events that were kept, as they came, oldest first.
func (s *Server) Events() []Event { return s.store.list("", 0, 0) }

func (s *Server) stats(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Stats()) }

func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	limit, err := number(query.Get("limit"), 100)
	after, err2 := number(query.Get("after"), 0)
	if err != nil || err2 != nil {
		http.Error(w, "limit and after are whole numbers", http.StatusBadRequest)
		return
	}
	found := s.store.list(query.Get("type"), after, limit)
	raw := make([]json.RawMessage, len(found))
	for i := range found {
		raw[i] = found[i].raw
	}
	writeJSON(w, raw)
}

func (s *Server) reset(w http.ResponseWriter, _ *http.Request) {
	s.store.reset()
	w.WriteHeader(http.StatusNoContent)
}

func number(text string, otherwise int) (int, error) {
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err == nil && n < 0 {
		err = fmt.Errorf("%d is negative", n)
	}
	return n, err
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(v) // A client that went away needs no answer.
}
