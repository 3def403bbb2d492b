//go:build browser && unix

package statuspage_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/statuspage"
)

const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// One browser serves all tests, each in a tab of its own.
var (
	browser     = sync.OnceValues(startBrowser)
	stopBrowser = func() {}
)

func TestMain(m *testing.M) {
	os.Exit(loadertest.Guarded(func() int {
		defer func() { stopBrowser() }()
		return m.Run()
	}))
}

// chromium finds a browser. Ubuntu's chromium-browser is a stub without snap: it comes last.
func chromium() (string, error) {
	for _, name := range []string{
		"headless-shell", "headless_shell", "chromium", "google-chrome", "google-chrome-stable", "chrome",
		"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome", "/Applications/Chromium.app/Contents/MacOS/Chromium", "chromium-browser",
	} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no Chromium found: " + remedy)
}

const remedy = "`.ci/setup browser` installs one (Debian: apt-get install chromium; Ubuntu: google-chrome, for its chromium is a snap; macOS: brew install --cask google-chrome)"

func startBrowser() (context.Context, error) {
	path, err := chromium()
	if err != nil {
		return nil, err
	}
	// Chromium's sandbox refuses root, and most containers refuse it; it would only
	// keep our own pages in.
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.WSURLReadTimeout(loadertest.Patience), chromedp.NoSandbox,
		chromedp.ModifyCmdFunc(loadertest.Guard))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	stopBrowser = func() {
		_ = chromedp.Cancel(ctx)
		cancel()
		stop()
	}
	if err := chromedp.Do(ctx); err != nil {
		return nil, fmt.Errorf("start %s: %w (%s)", path, err, remedy)
	}
	return ctx, nil
}

// tab is a page in the browser, and what it complained about.
type tab struct {
	context.Context //nolint:containedctx // so that a tab is what chromedp runs in
	t               *testing.T
	mu              sync.Mutex
	complaints      []string
}

func newTab(t *testing.T) *tab {
	t.Helper()
	parent, err := browser()
	require.NoError(t, err)
	ctx, cancel := chromedp.NewContext(parent)
	t.Cleanup(cancel)
	b := &tab{Context: ctx, t: t}
	b.do()
	require.NoError(t, chromedp.Listen(ctx, b.listen))
	call(b, log.Enable, cdp.Empty{})
	return b
}

func (b *tab) listen(event any) {
	complaint := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		complaint = e.Entry.Text
	case *runtime.EventExceptionThrown:
		complaint = e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		complaint = fmt.Sprintf("console.%s", e.Type)
	}
	if complaint != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.complaints = append(b.complaints, complaint)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	_, err := limited(b, chromedp.Steps(steps...))
	require.NoError(b.t, err)
}

func limited[T any](b *tab, action chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithCancel(b)
	// Not a deadline: the first action of a tab starts it, and must not end it.
	defer time.AfterFunc(loadertest.Patience, cancel).Stop()
	return chromedp.Run(ctx, action)
}

// get returns what an action returns.
func get[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	out, err := limited(b, action)
	require.NoError(b.t, err)
	return out
}

// call sends a command of the browser's protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	return get(b, func(ctx context.Context, target *chromedp.Target) (R, error) {
		return cdp.Call(ctx, target, command, params)
	})
}

// eval returns the value of JavaScript, awaited if it is a promise.
func eval[T any](b *tab, script string) T {
	b.t.Helper()
	return get(b, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

// until waits for JavaScript to be true. The page's policy forbids chromedp.Poll's eval.
func (b *tab) until(script string) {
	b.t.Helper()
	require.True(b.t, eval[bool](b, `new Promise(resolve => {
		const started = Date.now();
		const check = () => {
			if (`+script+`) resolve(true);
			else if (Date.now() - started > 60_000) resolve(false);
			else setTimeout(check, 10);
		};
		check();
	})`), script)
}

// quiet requires that the console stayed empty: no error, nothing that CSP stopped.
func (b *tab) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(b.t, b.complaints)
}

// look sets the size and the colour scheme.
func (b *tab) look(width int64, scheme string) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 800, DeviceScaleFactor: 1, Mobile: width < 500})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

func (b *tab) screenshot(name string) {
	b.t.Helper()
	yes := true
	params := cdppage.CaptureScreenshotParams{OptimizeForSpeed: &yes}
	dir := os.Getenv("CANDU_SCREENSHOTS")
	if dir == "" {
		dir = b.t.TempDir()
	} else { // Someone wants to look: more than fits the window.
		require.NoError(b.t, os.MkdirAll(dir, 0o750))
		size := eval[[]float64](b, `[innerWidth, Math.min(document.documentElement.scrollHeight, 1500)]`)
		params.CaptureBeyondViewport, params.Clip = &yes, &cdppage.Viewport{Width: size[0], Height: size[1], Scale: 1}
	}
	picture := call(b, cdppage.CaptureScreenshot, params)
	require.NoError(b.t, os.WriteFile(filepath.Join(dir, name+".png"), picture.Data, 0o600))
}

// site serves a view that may change, or nothing but errors.
type site struct {
	*httptest.Server
	mu     sync.Mutex
	view   statuspage.View
	broken bool
	// changes makes the page that of another version.
	changes *strings.Replacer
}

func newSite(t *testing.T, v statuspage.View) *site {
	t.Helper()
	s := &site{view: v, changes: strings.NewReplacer()}
	mux := http.NewServeMux()
	mux.Handle("/assets/", statuspage.Assets())
	mux.HandleFunc("/{$}", s.page)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *site) page(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if s.broken {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var html strings.Builder
	_ = statuspage.Render(&html, s.view)
	_, _ = s.changes.WriteString(w, html.String())
}

func (s *site) set(v statuspage.View, broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view, s.broken = v, broken
}
