"use strict";

// The page refreshes itself: it fetches its own address and takes over only what
// changed, so that focus, scrolling, open details and selected text stay.
(() => {
  const every = 15_000;
  const patience = 10_000;
  document.documentElement.classList.add("js");

  const keyOf = (node) => node.nodeType === Node.ELEMENT_NODE ? node.id || node.getAttribute("data-key") : null;

  const selected = (node) => {
    const selection = getSelection();
    return selection !== null && !selection.isCollapsed && selection.containsNode(node, true);
  };

  function takeText(old, fresh) {
    // Changing a text drops a selection in it. It is taken next time.
    if (old.data !== fresh.data && !selected(old)) old.data = fresh.data;
  }

  function takeAttributes(old, fresh) {
    // Whether details are open is up to the reader.
    const ours = (name) => name === "open" && old.localName === "details";
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !ours(name)) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && !ours(name)) old.setAttribute(name, value);
    }
  }

  const alike = (a, b) => a !== null && a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

  // find returns the node of old's children, from at on, that fresh is the news of.
  function find(at, fresh, byKey, wanted) {
    const key = keyOf(fresh);
    if (key !== null) return byKey.get(key) ?? null;
    let node = at;
    while (node !== null && keyOf(node) !== null && wanted.has(keyOf(node))) node = node.nextSibling;
    return alike(node, fresh) ? node : null;
  }

  function takeChildren(old, fresh) {
    const byKey = new Map([...old.children].filter(keyOf).map((child) => [keyOf(child), child]));
    const wanted = new Set([...fresh.children].map(keyOf));
    for (const child of [...old.children]) {
      if (keyOf(child) !== null && !wanted.has(keyOf(child))) child.remove();
    }
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const match = find(at, child, byKey, wanted);
      if (match === null || match.nodeName !== child.nodeName) {
        old.insertBefore(document.importNode(child, true), at);
        continue;
      }
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      take(match, child);
    }
    while (at !== null) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function take(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      takeText(old, fresh);
      return;
    }
    takeAttributes(old, fresh);
    takeChildren(old, fresh);
  }

  function takePage(fresh) {
    const focused = document.activeElement;
    if (document.title !== fresh.title) document.title = fresh.title;
    for (const part of ["#trouble", ".masthead", "#main"]) take(document.querySelector(part), fresh.querySelector(part));
    // An element that was moved has lost the focus.
    if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
  }

  const assetsOf = (page) => [...page.querySelectorAll("link[rel=stylesheet], script[src]")]
    .map((node) => node.getAttribute("href") ?? node.getAttribute("src")).join();

  // Surprise is an answer that is not the page.
  class Surprise extends Error {}

  async function fetchPage() {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(patience) });
    if (!answer.ok) throw new Surprise(`candu-loader answers ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!fresh.querySelector("#main") || !fresh.querySelector("#at")) throw new Surprise("what answers is another page");
    return fresh;
  }

  function say(text) {
    const stale = document.getElementById("stale");
    if (stale.textContent !== text) stale.textContent = text;
  }

  async function refresh() {
    try {
      const fresh = await fetchPage();
      if (assetsOf(fresh) !== assetsOf(document)) {
        location.reload(); // Another version of candu-loader, with a page of its own.
        return;
      }
      takePage(fresh);
      say("");
    } catch (error) {
      const why = error instanceof Surprise ? error.message : "candu-loader can’t be reached";
      say(`Not updated since ${document.getElementById("at").textContent}: ${why}.`);
    }
  }

  let timer = 0;
  let busy = false;

  async function tick() {
    clearTimeout(timer);
    if (document.hidden || busy) return;
    busy = true;
    await refresh();
    busy = false;
    timer = setTimeout(tick, every);
  }

  document.addEventListener("visibilitychange", tick);
  timer = setTimeout(tick, every);

  // Without https there is no clipboard: then the command is selected, to be copied by hand.
  async function copy(button) {
    if (button.textContent === "Copied") return;
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      const { textContent, ariaLabel } = button;
      button.textContent = button.ariaLabel = "Copied";
      setTimeout(() => Object.assign(button, { textContent, ariaLabel }), 2_000);
    } catch {
      getSelection().selectAllChildren(code);
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button.copy");
    if (button) copy(button);
  });
})();
