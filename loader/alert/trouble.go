package alert

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// answerError is an answer of HTTP, or of a mail server, that is no success.
type answerError int

func (e answerError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the answer was %d %s", int(e), http.StatusText(int(e))))
}

// final tells whether the next try would get this answer as well.
func (e answerError) final() bool {
	switch e {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return true
	}
	return false
}

// causes are what may be repeated of an error.
var causes = []string{
	"connection refused", "connection reset", "no such host", "network is unreachable", "certificate has expired", "unknown authority",
	"certificate is valid for", "timeout", "EOF",
}

// answer finds the code of an answer; what follows a colon is a port.
var answer = regexp.MustCompile(`(?:^|[\s("])([45][0-9][0-9])\b`)

// trouble says what an error of a service means. Its text is not repeated: the URL stands in it,
// which is the secret, whole or in part, and what the service answered, which may repeat what it
// was sent.
func trouble(err error) error {
	if err == nil {
		return nil
	}
	if status, ok := errors.AsType[answerError](err); ok {
		return status
	}
	for _, cause := range causes {
		if strings.Contains(err.Error(), cause) {
			return errors.New(cause)
		}
	}
	if found := answer.FindStringSubmatch(err.Error()); found != nil {
		code, _ := strconv.Atoi(found[1]) // It is digits.
		return answerError(code)
	}
	return errors.New("it did not accept the notice")
}
