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

// ErrUnknownKey means that Segment knows no source with that write key.
var ErrUnknownKey = errors.New("unknown write key")

// CheckKey asks Segment's CDN whether a source with that write key exists, for the
// tracking API takes any key, answers 200, and drops the events. The error is
// [ErrUnknownKey], or says that nobody could be asked; it never holds the key.
func CheckKey(ctx context.Context, cdn string, key secret.String) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cdn+"/v1/projects/"+url.PathEscape(key.Reveal())+"/settings", http.NoBody)
	if err != nil {
		return fault.New(fault.Config, "asking %s about the write key: not a URL", cdn)
	}
	// A client of its own: a redirect's error would quote where it leads, and no
	// connection stays open for one question.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("asking %s about the write key: %w", cdn, err)
	}
	defer func() { _ = res.Body.Close() }()
	switch res.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusNotFound:
		return ErrUnknownKey
	default:
		return fmt.Errorf("asking %s about the write key: answer %d", cdn, res.StatusCode)
	}
}
