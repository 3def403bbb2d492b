package segment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// checkTimeout bounds one question.
const checkTimeout = 10 * time.Second

// Reach reports whether the endpoint answers, whatever it says.
func Reach(ctx context.Context, endpoint string) error {
	if _, err := ask(ctx, http.MethodHead, endpoint+"/"); err != nil {
		return fmt.Errorf("connecting to %s: %w", endpoint, rootCause(err))
	}
	return nil
}

// rootCause drops what net says of the address, which the reader knows by name.
func rootCause(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// ErrUnknownKey means that Segment knows no source with that write key.
var ErrUnknownKey = errors.New("unknown write key")

// CheckKey asks Segment's CDN whether a source with that write key exists, for the
// tracking API takes any key, answers 200, and drops the events. The error is
// [ErrUnknownKey], or says that nobody could be asked; it never holds the key.
func CheckKey(ctx context.Context, cdn string, key secret.String) error {
	status, err := ask(ctx, http.MethodGet, cdn+"/v1/projects/"+url.PathEscape(key.Reveal())+"/settings")
	switch {
	case errors.Is(err, errNoURL):
		return fault.New(fault.Config, "asking %s about the write key: not a URL", cdn)
	case err != nil:
		return fmt.Errorf("asking %s about the write key: %w", cdn, err)
	case status == http.StatusOK:
		return nil
	case status == http.StatusNotFound:
		return ErrUnknownKey
	default:
		return fmt.Errorf("asking %s about the write key: answer %d", cdn, status)
	}
}

var errNoURL = errors.New("not a URL")

// ask returns the status of one answer. The error never holds the address.
func ask(ctx context.Context, method, address string) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
	if err != nil {
		return 0, errNoURL
	}
	// Not a client: a redirect's error would quote where it leads. And no connection stays
	// open for one question.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	_ = res.Body.Close()
	return res.StatusCode, nil
}
