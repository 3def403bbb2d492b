package statuspage_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/status"
	"github.com/candu-loader/candu-loader/loader/statuspage"
)

func render(t *testing.T, v statuspage.View) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, statuspage.Render(&b, v))
	return b.String()
}

func TestPageSaysWhatMatters(t *testing.T) {
	html := render(t, failingView())
	var missing []string // require.Contains would print the page.
	for _, want := range []string{
		"3 sources: 1 failing, 1 late, 1 fresh", "v1.4.0", "31 Jan 2026 09:02:30 UTC",
		"Failing since 07:02: complete until 06:59; retrying at 09:05.", "48,213",
		"<code>GRANT SELECT ON public.interactions TO candu_reader;</code>", "<code>candu-loader check --config config.yaml</code>",
		"Caught up at <time datetime=\"2026-01-31T06:59:00Z\">06:59 UTC</time>, and complete only until <time datetime=\"2026-01-31T04:30:00Z\">04:30 UTC</time>: a transaction", ", as of <time datetime=\"2026-01-31T08:40:00Z\">",
		"<code>candu-loader rejects list Candu_Prod --reason missing_identity</code>", "serve was not running",
		`<p class="not-proved" data-key="proof">Export = mirror + rejects: NOT proved: 3 missing, checked 6 hours ago; last proved 1 day ago. <span class="command"><code>candu-loader verify Candu_Prod</code>`,
		`<p class="held" data-key="proof">Export = mirror + rejects: proved up to 02:58, checked 6 hours ago.</p>`,
		`<time datetime="2026-01-31T09:05:00Z">09:05 UTC</time> <span class="ago">in 2 minutes</span>`,
	} {
		if !strings.Contains(html, want) {
			missing = append(missing, want)
		}
	}
	require.Empty(t, missing)
	require.Less(t, strings.Index(html, `id="source-Candu_Prod"`), strings.Index(html, `id="source-Candu_US"`), "the gravest first")
	require.NotRegexp(t, `(?i)<[^>]+\sstyle=|<script>|\son[a-z]+=|https?://|data:`, strings.ReplaceAll(html, "http-equiv", ""))
}

func TestWhatIsToBeTypedIsCode(t *testing.T) {
	for hint, want := range map[string]string{
		"Run `candu-loader migrate` first; `candu-loader run` does it too.": "candu-loader migrate|candu-loader run",
		"Find them: SELECT id FROM t; then: ALTER TABLE t ADD UNIQUE (id);": "SELECT id FROM t;|ALTER TABLE t ADD UNIQUE (id);",
		"Do this: candu-loader rejects retry Candu_A":                       "candu-loader rejects retry Candu_A",
		"The export is behind: select another replica, or update the grant": "",
		"": "",
	} {
		html := render(t, statuspage.View{Trouble: []status.Failure{{Error: "x", Hint: hint}}})
		var codes []string
		for _, code := range regexp.MustCompile("<code>(.*?)</code>").FindAllStringSubmatch(html, -1) {
			codes = append(codes, code[1])
		}
		require.Equal(t, want, strings.Join(codes, "|"))
		require.NotContains(t, html, "`")
	}
}

func TestTwoConfigurationsAreTold(t *testing.T) {
	const words = "the configuration of this source goes back and forth"
	source := statuspage.Source{Source: status.Source{Nickname: "x", State: status.Fresh}}
	require.NotContains(t, render(t, statuspage.View{Sources: []statuspage.Source{source}}), words)
	source.ConfigAlternates = words
	require.Contains(t, render(t, statuspage.View{Sources: []statuspage.Source{source}}), words)
}

func TestIdsAreUnique(t *testing.T) {
	v := twentyView()
	for i, nickname := range []string{"a b", "a-b", "a/b", strings.Repeat("x", 50), strings.Repeat("x", 51), ""} {
		v.Sources[i].Nickname = nickname
	}
	seen := map[string]bool{}
	for _, id := range regexp.MustCompile(`\sid="([^"]*)"`).FindAllStringSubmatch(render(t, v), -1) {
		require.False(t, seen[id[1]], id[1])
		seen[id[1]] = true
	}
}

const markup = `</title></script><script>alert(1)</script>"'><img src=x onerror=alert(1)>` + "\x00`<!--"

// hostileView has text everywhere where a View can have text.
func hostileView(text string) statuspage.View {
	v := failingView()
	poison(reflect.ValueOf(&v).Elem(), text)
	return v
}

func poison(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Pointer:
		if !v.IsNil() {
			poison(v.Elem(), text)
		}
	case reflect.Slice:
		for i := range v.Len() {
			poison(v.Index(i), text)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for _, field := range v.Fields() {
			poison(field, text)
		}
	}
}

// It is fetched every 15 seconds.
func TestPageStaysSmall(t *testing.T) {
	require.Less(t, len(render(t, twentyView())), 1_100_000)
}

func TestTextIsEscaped(t *testing.T) {
	html := render(t, hostileView(markup))
	require.Contains(t, html, "&lt;img src=x onerror=alert(1)&gt;")
	for _, never := range []string{"<img", "<script>", "</title></script>", "<!--"} {
		require.NotContains(t, html, never)
	}
}

func TestWhatIsNear_AndWhatIsUnknown(t *testing.T) {
	source := statuspage.Source{Source: status.Source{
		Nickname: "x", NextSlot: new(now.Add(20 * time.Second)), Failure: &status.Failure{Since: now}, LastRuns: []status.Run{{Seconds: 0.13}},
	}}
	html := render(t, statuspage.View{At: now, Sources: []statuspage.Source{source}})
	require.Contains(t, html, `<span class="ago">in 20s</span>`)
	require.Contains(t, html, `<dt>Watermark</dt><dd><span class="none">unknown</span>`)
	require.Contains(t, html, ">0.16s<")
	require.NotRegexp(t, `\d\.\d{4,}s`, html)
}

func TestNothingGivenNothingBroken(t *testing.T) {
	require.Contains(t, render(t, statuspage.View{}), "no source in the config")
	html := render(t, statuspage.View{Sources: []statuspage.Source{{}, {Days: []ledger.Day{{}}, Source: status.Source{
		Nickname: "x", LastRuns: []status.Run{{}}, Slots: []ledger.Slot{{At: now}}, Running: []status.Run{{}}, Rejects: []ledger.RejectsOfReason{{}}, Failure: &status.Failure{},
	}}}})
	require.NotContains(t, html, "NaN")
	require.NotContains(t, html, "Inf")
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestRenderSaysThatWritingFailed(t *testing.T) {
	require.EqualError(t, statuspage.Render(brokenWriter{}, emptyView()), "gone")
}

func TestAssets(t *testing.T) {
	links := regexp.MustCompile(`(?:href|src)="(assets/[^"]+)"`).FindAllStringSubmatch(render(t, emptyView()), -1)
	require.Len(t, links, 3)
	for i, kind := range []string{"text/css; charset=utf-8", "image/svg+xml", "text/javascript; charset=utf-8"} {
		answer := ask(http.MethodGet, "/"+links[i][1], "")
		require.Equal(t, http.StatusOK, answer.Code)
		require.Equal(t, kind, answer.Header().Get("Content-Type"))
		require.Contains(t, answer.Header().Get("Cache-Control"), "immutable")
		require.NotRegexp(t, `https?://[^w]|@import|url\(`, answer.Body.String())
		require.Equal(t, http.StatusNotModified, ask(http.MethodGet, "/"+links[i][1], answer.Header().Get("ETag")).Code)
	}
	require.Equal(t, "no-cache", ask(http.MethodGet, "/assets/style.css?v=another", "").Header().Get("Cache-Control"))
	require.Equal(t, http.StatusNotFound, ask(http.MethodGet, "/assets/other.css", "").Code)
	require.Equal(t, http.StatusNotFound, ask(http.MethodGet, "/assets/", "").Code)
}

func ask(method, path, etag string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("If-None-Match", etag)
	w := httptest.NewRecorder()
	statuspage.Assets().ServeHTTP(w, r)
	return w
}
