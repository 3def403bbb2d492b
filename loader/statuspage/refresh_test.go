//go:build browser && unix

package statuspage_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/statuspage"
)

// comeBack makes the page refresh at once, as it does when its tab is looked at again.
const comeBack = `document.dispatchEvent(new Event("visibilitychange")); 0`

const slotsInWords = `document.querySelector('#source-Candu_Prod details[data-key="slots-text"]')`

// asIfLoadedAnew says whether the page is what the server answers.
func asIfLoadedAnew(b *tab) bool {
	b.t.Helper()
	return eval[bool](b, `fetch(location.href).then(r => r.text()).then(text => {
		const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("#main");
		const shown = document.querySelector("#main").cloneNode(true);
		for (const d of shown.querySelectorAll("details")) d.open = false;
		return shown.innerHTML.replace(/\s+/g, " ") === fresh.innerHTML.replace(/\s+/g, " ");
	})`)
}

func TestRefreshTakesOverWhatChanged(t *testing.T) {
	server := newSite(t, healthyView())
	b := newTab(t)
	b.look(1280, "light")
	b.do(chromedp.Navigate(server.URL))
	eval[int](b, `window.mark = 7;
		`+slotsInWords+`.open = true;
		document.querySelector('#source-Candu_US .copy').focus();
		scrollTo(0, 400);
		window.row = document.querySelector('#source-Candu_Prod [data-key=run-400]');
		getSelection().selectAllChildren(document.querySelector('#source-Candu_EU h2')); 0`)

	changed := healthyView()
	changed.Sources[0].State = "failing"
	changed.Sources[0].Sentence = "Failing since 09:01."
	changed.Sources[0].LastRuns = append(changed.Sources[0].LastRuns[:1:1], changed.Sources[0].LastRuns...)
	changed.Sources[0].LastRuns[0].ID = 499
	server.set(changed, false)
	eval[int](b, comeBack)
	b.until(`document.querySelector('#source-Candu_Prod .sentence').textContent === "Failing since 09:01."`)
	require.Equal(t, 7, eval[int](b, `window.mark`), "not loaded anew")
	require.True(t, eval[bool](b, slotsInWords+`.open`))
	require.True(t, eval[bool](b, `document.activeElement.matches('#source-Candu_US .copy')`))
	require.True(t, eval[bool](b, `window.row.isConnected && window.row.previousElementSibling.dataset.key === "run-499"`))
	require.Equal(t, "Candu_EU", eval[string](b, `getSelection().toString().trim()`))
	require.Equal(t, "3 sources: 1 failing, 1 running, 1 fresh", eval[string](b, `document.querySelector("#summary").textContent`))
	require.Contains(t, eval[string](b, `document.title`), "1 failing")
	require.Equal(t, "source-Candu_Prod", eval[string](b, `document.querySelector("section.source").id`), "the gravest first")
	require.True(t, asIfLoadedAnew(b))
	b.quiet()
}

func TestRefreshFollowsSourcesAndSlots(t *testing.T) {
	server := newSite(t, emptyView())
	b := newTab(t)
	b.do(chromedp.Navigate(server.URL))
	for _, next := range []statuspage.View{twentyView(), healthyView(), failingView(), view(), emptyView()} {
		server.set(next, false)
		eval[int](b, comeBack)
		b.until(fmt.Sprintf(`document.querySelectorAll("section.source").length === %d && !document.querySelector("#stale").textContent`, len(next.Sources)))
		require.True(t, asIfLoadedAnew(b))
		require.Equal(t, len(next.Trouble), eval[int](b, `document.querySelectorAll("#trouble > *").length`))
	}
	b.quiet()
}

func TestRefreshKeepsSelectedText(t *testing.T) {
	server := newSite(t, healthyView())
	b := newTab(t)
	b.do(chromedp.Navigate(server.URL))
	eval[int](b, `getSelection().selectAllChildren(document.querySelector('#source-Candu_Prod .sentence')); 0`)
	changed := healthyView()
	changed.Sources[0].Sentence, changed.Sources[1].Sentence = "Changed.", "Changed."
	server.set(changed, false)
	eval[int](b, comeBack)
	b.until(`document.querySelector('#source-Candu_EU .sentence').textContent === "Changed."`)
	require.Equal(t, "Complete until 08:59, 3 minutes ago.", eval[string](b, `getSelection().toString().trim()`))
	eval[int](b, `getSelection().removeAllRanges(); `+comeBack)
	b.until(`document.querySelector('#source-Candu_Prod .sentence').textContent === "Changed."`)
}

func TestRefreshSaysWhenItFails(t *testing.T) {
	server := newSite(t, healthyView())
	b := newTab(t)
	b.do(chromedp.Navigate(server.URL))
	server.set(healthyView(), true)
	eval[int](b, comeBack)
	b.until(`document.querySelector("#stale").textContent !== ""`)
	require.Contains(t, eval[string](b, `document.querySelector("#stale").innerText`), "Not updated since 31 Jan 2026 09:02:30 UTC: candu-loader answers 503.")
	require.Equal(t, 3, eval[int](b, `document.querySelectorAll("section.source").length`))
	b.screenshot("stale")
	server.set(healthyView(), false)
	eval[int](b, comeBack)
	b.until(`document.querySelector("#stale").textContent === ""`)
}

func TestAnotherVersionIsLoadedAnew(t *testing.T) {
	server := newSite(t, healthyView())
	b := newTab(t)
	b.do(chromedp.Navigate(server.URL))
	eval[int](b, `window.mark = 7`)
	server.mu.Lock()
	server.changes = strings.NewReplacer("page.js?v=", "page.js?v=2")
	server.mu.Unlock()
	eval[int](b, comeBack)
	// The page goes while JavaScript waits: ask from outside.
	loadertest.Eventually(t, func() bool {
		gone, err := chromedp.Run(b, chromedp.Evaluate[bool](`window.mark === undefined && document.readyState === "complete"`))
		return err == nil && gone
	}, "the page to be loaded anew")
	eval[int](b, `window.mark = 8; `+comeBack)
	b.until(`document.querySelector("#stale").textContent === ""`)
	require.Equal(t, 8, eval[int](b, `window.mark`), "once is enough")
	b.quiet()
}

func TestHiddenTabAsksNothing(t *testing.T) {
	server := newSite(t, healthyView())
	b := newTab(t)
	b.do(chromedp.Navigate(server.URL))
	eval[int](b, `window.asked = 0;
		const real = window.fetch;
		window.fetch = (...args) => { window.asked++; return real(...args); };
		Object.defineProperty(document, "hidden", { configurable: true, get: () => window.away });
		window.away = true; `+comeBack)
	require.Zero(t, eval[int](b, `window.asked`))
	eval[int](b, `window.away = false; `+comeBack)
	b.until(`window.asked === 1`)
}
