package alert

import (
	"cmp"
	"encoding/base64"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/candu-loader/candu-loader/loader/secret"
)

// leastSecret is the length from which on a part of a URL is taken for a secret; shorter
// ones are words such as "hook" that an error may well contain.
const leastSecret = 6

var (
	anyURL = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*:/{1,3}[^\s"'<>]*`)
	// between splits tokens: Slack's T/B/X stands as T-B-X in the URL that the library takes.
	between = regexp.MustCompile(`[^A-Za-z0-9]+`)
)

// scrubber takes the secrets of one URL out of texts. What the library says of an error
// has the URL in it, as it is or as that of the service, whole or in part, and a service
// may repeat what it was sent.
type scrubber struct{ secrets []string }

func newScrubber(raw secret.String) scrubber {
	text := raw.Reveal()
	found := map[string]bool{text: true}
	add := func(values ...string) {
		for _, v := range values {
			for _, part := range append(between.Split(v, -1), v, url.QueryEscape(v), url.PathEscape(v)) {
				if len(part) >= leastSecret {
					found[part] = true
				}
			}
		}
	}
	u, err := url.Parse(text)
	if err != nil {
		add(text)
		return longestFirst(found)
	}
	if p := password(u); p != "" {
		found[p] = true // However short.
		add(p)
	}
	add(u.User.Username(), u.User.String(), u.Opaque, u.Fragment, u.RawQuery)
	add(strings.Split(u.Path, "/")...)
	add(strings.Split(u.EscapedPath(), "/")...)
	for _, values := range u.Query() {
		add(values...)
	}
	if u.User != nil {
		add(base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password(u))))
	}
	// A host with a dot is an address; one without, but with digits, may be a key, as
	// Pushover's.
	if host := u.Hostname(); !strings.ContainsAny(host, ".:") && strings.ContainsAny(host, "0123456789") {
		add(host)
	}
	return longestFirst(found)
}

func password(u *url.URL) string {
	text, _ := u.User.Password()
	return text
}

// longestFirst orders the secrets so that none leaves a rest of a longer one.
func longestFirst(found map[string]bool) scrubber {
	var s scrubber
	for text := range found {
		s.secrets = append(s.secrets, text)
	}
	slices.SortFunc(s.secrets, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return s
}

func (s scrubber) text(text string) string {
	text = anyURL.ReplaceAllString(text, "***")
	for _, hidden := range s.secrets {
		text = strings.ReplaceAll(text, hidden, "***")
	}
	return short(text)
}

// error returns one with the text alone: the causes of err know the secrets.
func (s scrubber) error(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(s.text(err.Error()))
}
