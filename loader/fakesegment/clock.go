package fakesegment

import (
	"net/http"
	"time"
)

// SetClock makes the clock that the server's answers tell ahead of this machine's; less than 0 =
// behind it.
func (s *Server) SetClock(ahead time.Duration) { s.clock.Store(int64(ahead)) }

// date says what time it is, where that is not what net/http would say.
func (s *Server) date(header http.Header) {
	if ahead := time.Duration(s.clock.Load()); ahead != 0 {
		header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
	}
}
