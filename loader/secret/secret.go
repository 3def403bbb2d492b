// Package secret holds the type for values that must never reach a log, an
// error text or --json.
package secret

import (
	"encoding/json"
	"fmt"
	"log/slog"
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

// URL is a database URL, or a text of keywords, which may have a password in it. It prints as a [String]
// does: where the password ends can't be told of every spelling. What of it is no secret is
// said by package postgres, as the driver understands it.
type URL string

var (
	_ fmt.Formatter  = URL("")
	_ json.Marshaler = URL("")
	_ slog.LogValuer = URL("")
)

// Reveal returns the value, for the one call that needs it.
func (u URL) Reveal() string { return string(u) }

// String returns ***, or "" for an empty URL.
func (u URL) String() string { return String(u).String() }

// Format prints *** for every verb.
func (u URL) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(u.String())) }

// MarshalJSON returns "***".
func (u URL) MarshalJSON() ([]byte, error) { return json.Marshal(u.String()) }

// MarshalText returns ***, for encoders that don't know JSON.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue returns *** to slog.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }
