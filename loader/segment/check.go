package segment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// reachTimeout and keyTimeout bound one question; a run waits for the second.
const (
	reachTimeout = 10 * time.Second
	keyTimeout   = 3 * time.Second
)

// Reach reports whether the endpoint answers, whatever it says, and how far this machine's clock
// is ahead of its own, see [ClockError].
func Reach(ctx context.Context, endpoint string) (ahead time.Duration, err error) {
	sent := time.Now()
	err = ask(ctx, reachTimeout, http.MethodHead, endpoint+"/", func(res *http.Response) error {
		ahead, _ = aheadOf(res.Header, sent, time.Now())
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("connecting to %s: %w", endpoint, rootCause(err))
	}
	return ahead, nil
}

// rootCause drops what net says of the address, which the reader knows by name.
func rootCause(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// ErrUnknownKey means that Segment knows no source with that write key.
var ErrUnknownKey = errors.New("no source has it, so that Segment would answer 200 to every event and drop it")

// CheckKey asks Segment's CDN whether a source with that write key exists, for the
// tracking API takes any key, answers 200, and drops the events. It answers within 3 s. The error
// is a [fault.Precondition] with the cause [ErrUnknownKey], or says why nobody could tell; it
// never holds the key.
func CheckKey(ctx context.Context, cdn string, key secret.String) error {
	doing := fmt.Sprintf("asking %s about the write key", cdn)
	err := ask(ctx, keyTimeout, http.MethodGet, cdn+"/v1/projects/"+url.PathEscape(key.Reveal())+"/settings", func(res *http.Response) error {
		switch res.StatusCode {
		case http.StatusOK:
			return isObject(res.Body)
		case http.StatusNotFound:
			return ErrUnknownKey
		}
		return fmt.Errorf("answer %d", res.StatusCode)
	})
	switch {
	case errors.Is(err, ErrUnknownKey):
		return &fault.Error{
			Kind: fault.Precondition, Err: err, Text: doing,
			Hint: "Copy it from Segment: Connections > Sources > your source > Settings > API Keys. " +
				"If that service can't know it, segment.cdn_endpoint: none switches the question off.",
		}
	case errors.Is(err, errNoURL):
		return fault.New(fault.Config, "%s: not a URL", doing)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer within %s", doing, keyTimeout)
	case err != nil:
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

var errNoObject = errors.New("answer 200 without a JSON object, as a proxy's page has it")

// isObject reports whether a body is a JSON object, as far as it is read: a proxy's page with a
// status of 200 says nothing of a key.
func isObject(body io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		return err
	}
	var object json.RawMessage
	err = json.NewDecoder(bytes.NewReader(text)).Decode(&object)
	whole, cut := json.Valid(text), len(text) == maxAnswer && errors.Is(err, io.ErrUnexpectedEOF)
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) || !whole && !cut {
		return errNoObject
	}
	return nil
}

var errNoURL = errors.New("not a URL")

// ask hands the answer to read. The error never holds the address.
func ask(ctx context.Context, timeout time.Duration, method, address string, read func(*http.Response) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
	if err != nil {
		return errNoURL
	}
	// Not a client: a redirect's error would quote where it leads. And no connection stays
	// open for one question.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	return read(res)
}
