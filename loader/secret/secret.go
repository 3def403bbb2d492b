// Package secret holds the type for values that must never reach a log, an
// error text or --json.
package secret

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
)

// mask is what a secret prints as.
const mask = "***"

// String is a secret text. Every way of printing it gives ***, only
// [String.Reveal] gives the value.
type String string

var (
	_ fmt.Formatter  = String("")
	_ json.Marshaler = String("")
	_ slog.LogValuer = String("")
)

// Reveal returns the value, for the one call that needs it.
func (s String) Reveal() string { return string(s) }

// String returns ***, or "" for an empty secret.
func (s String) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// Format prints *** for every verb, %q and %#v too.
func (s String) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalJSON returns "***".
func (s String) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalText returns ***, for encoders that don't know JSON.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns *** to slog.
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }

// URL is a database URL, or a keyword/value string, whose password is a
// secret. It prints with the password masked, so that an operator can still
// see which server is meant.
type URL string

var (
	_ fmt.Formatter  = URL("")
	_ json.Marshaler = URL("")
	_ slog.LogValuer = URL("")
)

var (
	// keywordPassword finds the password of a "host=... password=..." string.
	keywordPassword = regexp.MustCompile(`(?i)((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)`)
	// userinfoPassword finds it in what does not parse as a URL.
	userinfoPassword = regexp.MustCompile(`(://[^:/@\s]*:)[^\s]*@`)
	// queryPassword finds it among the parameters of a URL.
	queryPassword = regexp.MustCompile(`(?i)([?&](?:ssl)?password=)[^&\s]*`)
)

// Reveal returns the value, for the one call that needs it.
func (u URL) Reveal() string { return string(u) }

// String returns the value with its password as ***.
func (u URL) String() string {
	s := string(u)
	if parsed, err := url.Parse(s); err == nil && parsed.Scheme != "" && parsed.Host != "" {
		if _, ok := parsed.User.Password(); ok {
			// Not url.UserPassword: it would escape the stars.
			s = userinfoPassword.ReplaceAllString(s, "${1}"+mask+"@")
		}
		return queryPassword.ReplaceAllString(s, "${1}"+mask)
	}
	s = userinfoPassword.ReplaceAllString(s, "${1}"+mask+"@")
	return keywordPassword.ReplaceAllString(s, "${1}"+mask)
}

// Format prints the masked value for every verb, in quotes for %q.
func (u URL) Format(f fmt.State, verb rune) {
	if verb == 'q' {
		_, _ = fmt.Fprintf(f, "%q", u.String())
		return
	}
	_, _ = f.Write([]byte(u.String()))
}

// MarshalJSON returns the masked value.
func (u URL) MarshalJSON() ([]byte, error) { return json.Marshal(u.String()) }

// MarshalText returns the masked value.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue returns the masked value to slog.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }
