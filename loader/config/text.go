package config

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// The bounds of a file. The parser takes a time that grows with the square of the depth.
const (
	maxBytes = 1 << 20
	maxDepth = 32
)

// tokens cuts a file into YAML's tokens, once it is known to be a text that the parser reads as the
// operator does; nil if it is none.
func (d *decoder) tokens(text []byte) token.Tokens {
	const save = "Save it as UTF-8 without a byte order mark; in Windows PowerShell: Set-Content -Encoding utf8NoBOM."
	line := 1
	for rest := text; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size == 1 {
			break
		} else if r == '\n' {
			line++
		}
		rest = rest[size:]
	}
	switch {
	case len(text) > maxBytes:
		d.whole(0, "A configuration of thousands of sources is smaller than that.", "the file has %d bytes, at most %d are read", len(text), maxBytes)
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")), bytes.IndexByte(text[:min(4, len(text))], 0) >= 0:
		d.whole(1, save, "the file is UTF-16 or UTF-32, expected UTF-8")
	case bytes.HasPrefix(text, []byte(bom)):
		d.whole(1, save, "the file begins with a byte order mark")
	case !utf8.Valid(text):
		d.whole(line, save, "has bytes that are no UTF-8")
	case bytes.IndexByte(text, 0) >= 0:
		d.whole(1+bytes.Count(text[:bytes.IndexByte(text, 0)], []byte("\n")), save, "has a NUL byte")
	default:
		tokens := lexer.Tokenize(string(text))
		if line := tooDeep(tokens); line > 0 {
			d.whole(line, "", "is nested deeper than %d levels", maxDepth)
			return nil
		}
		return tokens
	}
	return nil
}

// tooDeep returns the line where lists and mappings within lists and mappings, as far as one line
// can nest them, become too many; 0 if they do not.
func tooDeep(tokens token.Tokens) int {
	flow, line, entries := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType:
			entries++
		}
		if flow+entries > maxDepth {
			return line
		}
	}
	return 0
}

// oneDocument adds a problem for each further document. The parser's own list of them lacks what stands
// behind an empty one.
func (d *decoder) oneDocument(tokens token.Tokens) {
	headed, begun, ended, directive := false, false, false, 0
	for _, t := range tokens {
		switch {
		case t.Type == token.CommentType || t.Position.Line == directive:
		case t.Type == token.DirectiveType:
			directive = t.Position.Line
		case t.Type == token.DocumentHeaderType, t.Type == token.DocumentEndType:
			ended = headed || begun // An empty one is one too.
			headed = headed || t.Type == token.DocumentHeaderType
		case ended:
			d.whole(t.Position.Line, "Keep one document: take the line `---` above it away and join the two, or move it to a file of its own.",
				"a second YAML document begins, and would not be read")
			ended = false
		default:
			begun = true
		}
	}
}

// whole adds a problem of the file, not of a key.
func (d *decoder) whole(line int, hint, format string, args ...any) {
	d.problems = append(d.problems, Problem{File: d.path, Line: line, Text: strings.TrimSpace(fmt.Sprintf(format, args...)), Hint: hint})
}
