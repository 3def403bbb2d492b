package config

import (
	"reflect"
	"strings"
	"unicode"

	"github.com/candu-loader/candu-loader/loader/secret"
)

// trimmed says of which fields trim makes the value: what is copied from a page, written by
// echo or by an editor, or set by `docker --env-file`, comes with line ends, a byte order mark
// and quotes that nobody sees.
func (f field) trimmed() bool {
	return f.to.Type() == reflect.TypeFor[secret.URL]() || f.tag.Get("trim") != ""
}

// clean returns the value that is meant by a text.
func (f field) clean(text string) string {
	if f.trimmed() {
		return trim(text)
	}
	return text
}

// bom is a byte order mark.
const bom = "\ufeff"

// trim takes white space, byte order marks and one pair of quotes away.
func trim(text string) string {
	text = strings.TrimFunc(text, invisible)
	if n := len(text); n >= 2 && text[0] == text[n-1] && strings.ContainsRune(`"'`, rune(text[0])) {
		text = strings.TrimFunc(text[1:n-1], invisible)
	}
	return text
}

func invisible(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(bom, r) }

// checkKey refuses what is no write key: Segment would answer 200 to it and drop the events. The
// value is a secret, so only the place of what is wrong is told.
func checkKey(key secret.String) error {
	for i, r := range []rune(key.Reveal()) {
		what := ""
		switch {
		case unicode.IsSpace(r):
			what = "a blank or line end"
		case r == unicode.ReplacementChar || r == 0:
			what = "no text (is the file UTF-16?)"
		case r < ' ' || r == 0x7f:
			what = "a control character"
		case r > unicode.MaxASCII:
			what = "not ASCII"
		}
		if what != "" {
			return invalid("Copy it again from Segment: Connections > Sources > your source > Settings > API Keys.", "is no write key: its character %d is %s", i+1, what)
		}
	}
	return nil
}
