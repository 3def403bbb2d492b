package fakesegment

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
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
	// Delay only waits. Slow accepts, and waits between the bytes of its answer.
	Delay = "delay"
	Slow  = "slow"
	// Long accepts, and says so at the beginning of an answer of more than 1 MiB.
	Long = "long"
)

var kinds = []string{Status, ResetBefore, ResetAfter, Cut, Hang, Drop, Redirect, Delay, Slow, Long}

// Fault is trouble for some requests.
type Fault struct {
	// Kind is one of the constants.
	Kind string `json:"kind"`
	// Status is the answer of kind status.
	Status int `json:"status,omitempty"`
	// RetryAfter is the header of that answer in seconds; 0 = none.
	RetryAfter int `json:"retry_after,omitempty"`
	// ContentType and Body replace that answer's, as a proxy's page would; with ContentType ""
	// it is JSON that says no success.
	ContentType string `json:"content_type,omitempty"`
	Body        string `json:"body,omitempty"`
	// DelayMillis is waited before anything else; of kind slow, for each byte.
	DelayMillis int `json:"delay_millis,omitempty"`
	// Share is the part of the requests that it hits, 0 to 1.
	Share float64 `json:"share,omitempty"`
	// Next is how many of the next requests it hits; then it is over. With Share 0 and Next
	// 0 it hits all.
	Next int `json:"next,omitempty"`
	// Skip is how many requests go by before the first one that may be hit.
	Skip int `json:"skip,omitempty"`
}

// Poison chooses events that are answered with Status, 400 if it is 0. Fields
// that are "" match everything.
type Poison struct {
	MessageID string `json:"message_id,omitempty"`
	UserID    string `json:"user_id,omitempty"`
	EventName string `json:"event_name,omitempty"`
	Status    int    `json:"status,omitempty"`
}

func (p Poison) hits(e *Event) bool {
	return (p.MessageID == "" || p.MessageID == e.ID()) && (p.UserID == "" || p.UserID == text(e.UserID)) &&
		(p.EventName == "" || p.EventName == e.eventName())
}

// Faults is all the trouble there is. Of several faults the first that hits a request
// counts.
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

// Validate finds what is no fault.
func (f Faults) Validate() error {
	for _, fault := range f.Faults {
		switch {
		case !slices.Contains(kinds, fault.Kind):
			return fmt.Errorf("fault kind %q is none of %s", fault.Kind, strings.Join(kinds, ", "))
		case fault.Kind == Status && (fault.Status < 200 || fault.Status > 599):
			return fmt.Errorf("fault status %d is not from 200 to 599", fault.Status)
		case fault.Share < 0 || fault.Share > 1:
			return fmt.Errorf("fault share %v is not from 0 to 1", fault.Share)
		case fault.Next < 0 || fault.Skip < 0:
			return errors.New("fault next and skip can't be negative")
		}
	}
	return nil
}

// draw returns the trouble for the next request, the zero value for none.
func (f *faults) draw() Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.now.Faults {
		fault := &f.now.Faults[i]
		switch {
		case fault.Next < 0:
			continue // It is over.
		case fault.Skip > 0:
			fault.Skip--
			continue
		case fault.Share > 0 && f.dice.Float64() >= fault.Share:
			continue
		case fault.Next > 0:
			if fault.Next--; fault.Next == 0 {
				fault.Next = -1
			}
		}
		return *fault
	}
	return Fault{}
}

// poisoned returns the status for an event that was chosen, or 0.
func (f *faults) poisoned(e *Event) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.now.Poison {
		if p.hits(e) {
			return cmp.Or(p.Status, http.StatusBadRequest)
		}
	}
	return 0
}

// before waits, and makes the trouble that comes before accepting; true = that was
// all.
func (s *Server) before(w http.ResponseWriter, r *http.Request, f Fault) bool {
	if f.Kind != Slow && !wait(r, f.DelayMillis) {
		panic(http.ErrAbortHandler)
	}
	switch f.Kind {
	case Status:
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
		}
		if f.ContentType == "" {
			s.answer(w, f.Status, "on demand")
			break
		}
		s.store.status(f.Status)
		w.Header().Set("Content-Type", f.ContentType)
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, f.Body) // A client that went away needs no answer.
	case Redirect:
		w.Header().Set("Location", "/elsewhere")
		s.answer(w, http.StatusFound, "on demand")
	case ResetBefore:
		s.sever(w, "")
	case Hang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	default:
		return false
	}
	return true
}

// wait is false if the client went away meanwhile.
func wait(r *http.Request, millis int) bool {
	if millis <= 0 {
		return true
	}
	timer := time.NewTimer(time.Duration(millis) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

const success = `{"success": true}`

// after answers what was accepted, with the trouble that comes then.
func (s *Server) after(w http.ResponseWriter, r *http.Request, f Fault) {
	switch f.Kind {
	case ResetAfter:
		s.sever(w, "")
		return
	case Cut:
		s.sever(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "+strconv.Itoa(len(success))+"\r\n\r\n"+success[:5])
		return
	}
	s.store.status(http.StatusOK)
	w.Header().Set("Content-Type", "application/json")
	if f.Kind == Long {
		_, _ = io.WriteString(w, `{"success": true, "padding": "`+strings.Repeat("x", 2<<20)+`"}`)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(success)))
	if f.Kind != Slow {
		_, _ = io.WriteString(w, success) // A client that went away needs no answer.
		return
	}
	for i := range success {
		if !wait(r, f.DelayMillis) {
			return
		}
		_, _ = io.WriteString(w, success[i:i+1])
		_ = http.NewResponseController(w).Flush()
	}
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
	err := decoder.Decode(&f)
	if err == nil {
		err = f.Validate()
	}
	if err != nil {
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
