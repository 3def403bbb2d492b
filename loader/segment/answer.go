package segment

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/secret"
)

const (
	// maxAnswer bounds how much of an answer is read.
	maxAnswer = 1 << 20
	// maxWords is how many characters of an answer are quoted.
	maxWords = 200
)

// answerError is an answer that is no acceptance.
type answerError struct {
	status int
	// contentType and words are what the server said, fit to be printed.
	contentType, words string
}

// Error says what was expected of a 2xx, for whoever runs a stand-in.
func (e *answerError) Error() string {
	text := fmt.Sprintf("answer %d", e.status)
	if e.status >= 200 && e.status < 300 {
		text += `, expected 200 with {"success": true}`
	}
	return text + e.said()
}

// said quotes the answer's body.
func (e *answerError) said() string {
	switch {
	case e.words != "" && e.contentType == "":
		return fault.Said + " (no content type): " + e.words
	case e.words != "":
		return fault.Said + " (" + e.contentType + "): " + e.words
	case e.contentType != "" || e.status < 300:
		return fault.Said + " nothing"
	}
	return ""
}

// accepts is the one place that decides what an acceptance is: nil if the answer is one.
// analytics-go would take any status below 300 for it, a proxy's page included. body is the
// beginning of the answer; cut is true if it goes on.
func accepts(res *http.Response, body []byte, cut bool, key secret.String) error {
	if res.StatusCode == http.StatusOK && saysSuccess(body, cut) {
		return nil
	}
	return &answerError{
		status: res.StatusCode, contentType: printable(res.Header.Get("Content-Type"), key), words: printable(string(body), key),
	}
}

// saysSuccess reports whether a body is a JSON object with "success": true. Of one that was cut
// off, the beginning must be that of such an object, and have come that far.
func saysSuccess(body []byte, cut bool) bool {
	d := json.NewDecoder(bytes.NewReader(body))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return false
	}
	success := false
	for d.More() {
		var value json.RawMessage
		name, err := d.Token()
		if err == nil {
			err = d.Decode(&value)
		}
		switch {
		case err != nil:
			return success && cut && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF))
		case name != "success":
		case string(value) != "true":
			return false
		default:
			success = true
		}
	}
	return success && (cut || json.Valid(body))
}

// printable returns the first 200 characters of what a server said, on one line, without
// control characters and without the key, which servers for debugging repeat.
func printable(text string, key secret.String) string {
	text = human.Line(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, text))
	if plain := key.Reveal(); plain != "" {
		basic := base64.StdEncoding.EncodeToString([]byte(plain + ":"))
		text = strings.NewReplacer(basic, key.String(), plain, key.String()).Replace(text)
	}
	return human.Cut(text, maxWords+1)
}
