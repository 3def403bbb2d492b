//go:build browser && unix

package statuspage_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/status"
	"github.com/candu-loader/candu-loader/loader/statuspage"
)

// tooPale lists the visible texts whose contrast with what is behind them is under 4.5.
const tooPale = `(() => {
  const rgb = (text) => text.match(/[\d.]+/g).map(Number);
  const part = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const color = rgb(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const bad = new Set();
  let seen = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility()) continue;
    seen++;
    const style = getComputedStyle(e);
    const [a, b] = [light(rgb(e.closest("svg") ? style.fill : style.color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.add(e.tagName + "." + (e.getAttribute("class") ?? "") + " " + ratio.toFixed(2));
  }
  return seen < 5 ? ["only " + seen + " texts"] : [...bad];
})()`

// widest is compared with the width that was set: on a phone innerWidth grows with what overflows.
const widest = `document.scrollingElement.scrollWidth`

const headings = `[...document.querySelectorAll("h1,h2,h3,h4")].map(h => Number(h.tagName[1]))`

func TestLook(t *testing.T) {
	views := []struct {
		name string
		view statuspage.View
	}{{"empty", emptyView()}, {"healthy", healthyView()}, {"failing", failingView()}, {"twenty", twentyView()}}
	for _, test := range views {
		t.Run(test.name, func(t *testing.T) {
			b := newTab(t)
			b.look(1280, "light")
			b.do(chromedp.Navigate(newSite(t, test.view).URL))
			for _, scheme := range []string{"light", "dark"} {
				for _, width := range []int64{1280, 360} {
					b.look(width, scheme)
					require.LessOrEqual(t, eval[int64](b, widest), width)
					b.screenshot(fmt.Sprintf("%s-%s-%d", test.name, scheme, width))
				}
				if len(test.view.Sources) < 5 { // More show nothing else, and take their time.
					require.Empty(t, eval[[]string](b, tooPale), scheme)
				}
			}
			inOrder(t, eval[[]int](b, headings))
			if len(test.view.Sources) < 5 {
				named(t, b)
			}
			b.quiet()
		})
	}
}

func inOrder(t *testing.T, levels []int) {
	t.Helper()
	require.NotEmpty(t, levels)
	before := 0
	for _, level := range levels {
		require.LessOrEqual(t, level, before+1, levels)
		before = level
	}
}

// named requires that what a screen reader can't read out has a name.
func named(t *testing.T, b *tab) {
	t.Helper()
	nodes := call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes
	kinds := map[string]int{}
	for _, node := range nodes {
		if node.Ignored || node.Role == nil {
			continue
		}
		role := strings.Trim(string(node.Role.Value), `"`)
		kinds[role]++
		switch role {
		case "image", "progressindicator", "region", "table", "button", "link", "DisclosureTriangle":
			require.NotNil(t, node.Name, role)
			require.NotEmpty(t, strings.Trim(string(node.Name.Value), `" `), role)
		}
	}
	for _, landmark := range []string{"banner", "main", "contentinfo"} {
		require.Equal(t, 1, kinds[landmark], "%s of %v", landmark, kinds)
	}
	require.NotZero(t, kinds["region"])
}

func TestHostileTextBreaksNothing(t *testing.T) {
	for name, view := range map[string]statuspage.View{"markup": hostileView(markup), "long": hostileView(strings.Repeat("x", 10_000))} {
		t.Run(name, func(t *testing.T) {
			b := newTab(t)
			b.look(360, "light")
			b.do(chromedp.Navigate(newSite(t, view).URL))
			require.LessOrEqual(t, eval[int64](b, widest), int64(360))
			require.Zero(t, eval[int](b, `document.querySelectorAll("img, body script, [onerror], [style]").length`))
			require.Less(t, eval[float64](b, `document.scrollingElement.scrollHeight`), 12_000.0, "the texts must not push everything else away")
			b.screenshot("hostile-" + name)
			b.quiet()
		})
	}
}

func TestWithoutJavaScript(t *testing.T) {
	b := newTab(t)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.do(chromedp.Navigate(newSite(t, healthyView()).URL))
	text := eval[string](b, `document.querySelector("#main").innerText`)
	refresh := eval[string](b, `document.querySelector("noscript meta[http-equiv=refresh]").content`)
	require.Contains(t, text, "Complete until 08:59, 3 minutes ago.")
	require.Equal(t, "30", refresh)
	require.NotContains(t, text, "Copy", "a button that can't do anything")
	b.quiet()
}

func TestCopy(t *testing.T) {
	b := newTab(t)
	b.do(chromedp.Navigate(newSite(t, healthyView()).URL))
	eval[chromedp.Void](b, `document.querySelector("#source-Candu_US .copy").click()`)
	// Which of both depends on whether the browser lets a page write to the clipboard.
	b.until(`document.querySelector("#source-Candu_US .copy").textContent === "Copied" ||
		getSelection().toString() === "candu-loader rejects list Candu_US --reason missing_identity"`)
	b.quiet()
}

func TestKeyboard(t *testing.T) {
	b := newTab(t)
	b.do(chromedp.Navigate(newSite(t, healthyView()).URL), chromedp.KeyEvent("\t"))
	require.Equal(t, "skip", eval[string](b, `document.activeElement.className`))
	require.GreaterOrEqual(t, eval[float64](b, `document.activeElement.getBoundingClientRect().top`), 0.0)
	require.NotEqual(t, "none", eval[string](b, `getComputedStyle(document.activeElement).outlineStyle`))
	b.do(chromedp.KeyEvent("\r"))
	b.until(`document.activeElement.id === "main"`)
	b.do(chromedp.KeyEvent("\t"))
	require.Equal(t, "region", eval[string](b, `document.activeElement.getAttribute("role")`))
}

func healthyView() statuspage.View {
	slow := fresh("Candu_EU", 3)
	slow.Timezone, slow.Schedule = "Europe/Berlin", "*/15 6-22 * * 1-5"
	loading := fresh("Candu_US", 7)
	loading.State = status.Running
	loading.Running = []status.Run{
		underWay(412, ledger.Scheduled, "09:00", 120_000, 119_000, 1_000_000),
		underWay(409, ledger.Backfill, "08:31", 2_345_678, 2_300_000, 4_000_000),
		underWay(411, ledger.Repair, "08:59", 1200, 3, 0),
	}
	loading.Running[1].RangeFrom, loading.Running[1].RangeTo = new(now.AddDate(0, -3, 0)), new(now.AddDate(0, -1, 0))
	loading.Rejects = rejects()
	return view(fresh("Candu_Prod", 1), slow, loading)
}

func underWay(id int64, kind ledger.RunKind, started string, read, sent, expected int64) status.Run {
	run := status.Run{Expected: expected}
	run.ID, run.Kind, run.Status, run.StartedAt, run.RowsRead, run.Sent = id, kind, ledger.RunRunning, at(started), read, sent
	return run
}
