package fakesegment

import (
	"encoding/json"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
)

// Fault kinds, besides an HTTP status.
const (
	// Status answers with Fault.Status.
	Status = "status"
	// ResetBefore breaks the connection without accepting, ResetAfter after it.
	ResetBefore = "reset_before"
	ResetAfter  = "reset_after"
	// Cut accepts and breaks off in the middle of the answer.
	Cut = "cut"
	// Hang never answers, as a half-open connection.
	Hang = "hang"
	// Drop answers 200 and accepts nothing.
	Drop = "drop"
	// Redirect answers 302 to another place.
	Redirect = "redirect"
	// Delay only waits.
	Delay = "delay"
)

// Fault is trouble for some requests.
type Fault struct {
	// Kind is one of the constants.
	Kind string `json:"kind"`
	// Status is the answer of kind status.
	Status int `json:"status,omitempty"`
	// RetryAfter is the header of that answer in seconds; 0 = none.
	RetryAfter int `json:"retry_after,omitempty"`
	// DelayMillis is waited before anything else.
	DelayMillis int `json:"delay_millis,omitempty"`
	// Share is the part of the requests that it hits, 0 to 1.
	Share float64 `json:"share,omitempty"`
	// Next is how many of the next requests it hits; then it is over. With Share 0 and Next
	// 0 it hits all.
	Next int `json:"next,omitempty"`
}

// Poison chooses events that are answered with Status, 400 if it is 0. Fields
// that are "" match everything.
type Poison struct {
	MessageID string `json:"message_id,omitempty"`
	UserID    string `json:"user_id,omitempty"`
	Status    int    `json:"status,omitempty"`
}

// Faults is all the trouble there is.
type Faults struct {
	Faults []Fault  `json:"faults,omitempty"`
	Poison []Poison `json:"poison,omitempty"`
}

type faults struct {
	mu   sync.Mutex
	now  Faults
	dice *rand.Rand
}

// SetFaults replaces all trouble; the zero value ends it.
func (s *Server) SetFaults(f Faults) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.now = Faults{Faults: slices.Clone(f.Faults), Poison: slices.Clone(f.Poison)}
}

// draw returns the trouble for the next request, nil for none.
func (f *faults) draw() *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.now.Faults {
		fault := &f.now.Faults[i]
		switch {
		case fault.Next < 0:
			continue // It is over.
		case fault.Share > 0 && f.dice.Float64() >= fault.Share:
			continue
		case fault.Next > 0:
			if fault.Next--; fault.Next == 0 {
				fault.Next = -1
			}
		}
		drawn := *fault
		return &drawn
	}
	return nil
}

// poisoned returns the status for an event that was chosen, or 0.
func (f *faults) poisoned(e *Event) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.now.Poison {
		if (p.MessageID == "" || p.MessageID == e.ID()) && (p.UserID == "" || p.UserID == text(e.UserID)) {
			if p.Status == 0 {
				return http.StatusBadRequest
			}
			return p.Status
		}
	}
	return 0
}

// before makes the trouble that comes before accepting; true = that was all.
func (s *Server) before(w http.ResponseWriter, r *http.Request, f *Fault) bool {
	switch f.Kind {
	case Status:
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
		}
		s.answer(w, f.Status, "on demand")
	case Redirect:
		w.Header().Set("Location", "/elsewhere")
		s.answer(w, http.StatusFound, "on demand")
	case ResetBefore:
		s.sever(w, "")
	case Hang:
		<-r.Context().Done()
	default:
		return false
	}
	return true
}

// after makes the trouble that comes after accepting.
func (s *Server) after(w http.ResponseWriter, f *Fault) bool {
	switch f.Kind {
	case ResetAfter:
		s.sever(w, "")
	case Cut:
		s.sever(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n{\"succ")
	default:
		return false
	}
	return true
}

// sever breaks the connection with a RST, after some last words.
func (s *Server) sever(w http.ResponseWriter, words string) {
	s.store.status(0)
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler) // HTTP/2: the stream is reset.
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = conn.Write([]byte(words))
	if tcp, ok := conn.(*net.TCPConn); ok && words == "" {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func (s *Server) putFaults(w http.ResponseWriter, r *http.Request) {
	var f Faults
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.SetFaults(f)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) clearFaults(w http.ResponseWriter, _ *http.Request) {
	s.SetFaults(Faults{})
	w.WriteHeader(http.StatusNoContent)
}
