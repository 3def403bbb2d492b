package alert

import "time"

// Hasten makes the tests quick.
func (s *Sender) Hasten(limit, wait time.Duration) *Sender {
	s.limit, s.wait = limit, wait
	return s
}
