package event

import (
	"time"
	"unicode/utf8"
)

// size returns the exact length of the JSON that analytics-go makes of an event,
// without making it: the rule about large events and the cutting of batches need it
// for every row.
func (r *Rules) size(e *Event) int {
	row := e.Row
	n := r.fixed[e.Kind] + intLen(e.TutorialID) + timeLen(e.At)
	n += field(`,"userId":""`, row.UserID)
	n += field(`,"anonymousId":""`, row.AnonymousID)
	n += field(`,"segmentId":""`, row.SegmentID)
	n += field(`,"versionId":""`, row.VersionID)
	if e.HasPortal {
		n += len(`,"portalId":`) + intLen(e.PortalID)
	}
	if e.Kind == Interacted {
		n += textLen(row.EventName)
	}
	return n
}

// field is the length of a text with its key, 0 if it is blank and left out.
func field(key, value string) int {
	if blank(value) {
		return 0
	}
	return len(key) + textLen(value)
}

// textLen is the length of s in JSON as encoding/json writes it, without quotes.
func textLen(s string) int {
	n := len(s)
	for i := 0; i < len(s); {
		b := s[i]
		if b < utf8.RuneSelf {
			n += escapes[b]
			i++
			continue
		}
		c, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case c == utf8.RuneError && size == 1:
			n += len(`\ufffd`) - 1
		case c == '\u2028' || c == '\u2029':
			n += len(`\u2028`) - size
		}
		i += size
	}
	return n
}

// escapes says how many bytes more than one an ASCII character takes.
var escapes = func() (t [utf8.RuneSelf]int) {
	for c := range t {
		switch c {
		case '"', '\\', '\b', '\f', '\n', '\r', '\t':
			t[c] = 1
		case '<', '>', '&':
			t[c] = 5
		default:
			if c < ' ' {
				t[c] = 5
			}
		}
	}
	return t
}()

func intLen(n int64) int {
	length := 1
	if n < 0 {
		length++
	}
	for n /= 10; n != 0; n /= 10 {
		length++
	}
	return length
}

// timeLen is the length of a UTC time as RFC 3339 with as many decimals as it
// needs.
func timeLen(t time.Time) int {
	n := len("2006-01-02T15:04:05Z")
	micros := t.Nanosecond() / 1000
	if micros == 0 {
		return n
	}
	digits := 6
	for micros%10 == 0 {
		micros /= 10
		digits--
	}
	return n + 1 + digits
}
