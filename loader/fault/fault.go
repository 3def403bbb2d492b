// Package fault says what kind of trouble an error is, so that every decision
// above it (try again, stop, which exit code) asks the kind and never the text.
//
// A kind is given once, at the edge where the error is born: a SQLSTATE in
// [Postgres], a HTTP status in package segment, a rule in package config.
// Everything in between wraps with %w and leaves the kind alone.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Kind is what an error means to the one who has to act on it.
type Kind uint8

const (
	// Failed is the zero kind: the work failed, running it again may help.
	Failed Kind = iota
	// Retryable is a passing trouble of the network or a server: the same
	// step may succeed when tried again.
	Retryable
	// Config is wrong usage or a wrong configuration file.
	Config
	// Precondition is something missing outside of the program: a server that
	// does not answer, a table, a privilege, a valid write key.
	Precondition
	// Busy means that another loader holds the lease of this source.
	Busy
	// Difference means that verify found the export and the mirror to differ.
	Difference
	// Interrupted means that a signal or a deadline ended the work early.
	Interrupted
	// None is the kind of nil, and of no error: else a test for the zero kind could not fail.
	None
)

// String names the kind as it appears in logs and in --json.
func (k Kind) String() string {
	switch k {
	case Retryable:
		return "retryable"
	case Config:
		return "config"
	case Precondition:
		return "precondition"
	case Busy:
		return "busy"
	case Difference:
		return "difference"
	case Interrupted:
		return "interrupted"
	case None:
		return "none"
	default:
		return "failed"
	}
}

// Error is an error with a kind and, where there is one, the remedy.
type Error struct {
	// Kind decides what happens next.
	Kind Kind
	// Text says what happened: gerund or verb and object, lower case.
	Text string
	// Hint tells the operator what to do, "" if there is nothing to say. It is
	// printed on a line of its own, by the command alone.
	Hint string
	// Err is the cause, nil if Text says it all.
	Err error
}

// Error returns the text and the cause; the hint is not part of it.
func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.Text
	case e.Text == "":
		return e.Err.Error()
	default:
		return e.Text + ": " + e.Err.Error()
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New returns an error of kind without a remedy.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// Wrap gives err a kind and says what was being done; nil stays nil.
func Wrap(kind Kind, err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...), Err: err}
}

// WithHint sets the remedy and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// KindOf returns the kind that was given to err nearest to its surface, or
// Failed if nobody gave one; of nil it is None.
func KindOf(err error) Kind {
	if err == nil {
		return None
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Failed
}

// HintOf returns the remedy nearest to the surface of err, or "".
func HintOf(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// Attrs returns err, and its remedy if there is one, as attributes of a log line.
func Attrs(err error) []any {
	if hint := HintOf(err); hint != "" {
		return []any{"error", err, "hint", hint}
	}
	return []any{"error", err}
}

// Said stands in an error's text before words that are not ours: what a server answered.
const Said = "; it said"

// WithoutWords takes out of an error's text what [Said] introduces, to the end of the line: such
// words are for the operator, and go to nobody else.
func WithoutWords(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i], _, _ = strings.Cut(lines[i], Said)
	}
	return strings.Join(lines, "\n")
}

// Is reports whether err is of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }
