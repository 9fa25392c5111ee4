"use strict";
/* The page: what the address names is shown. */
const main = (() => {
  const place = document.getElementById("main");
  let view = null;

  function query(parameters) {
    const text = Object.entries(parameters).map(([name, value]) => `${name}=${value}`).join("&");
    return text && `?${text}`;
  }

  /** Address of the page itself: the server may have set another base for relative ones. */
  function page() {
    return window.location.href.split("#")[0];
  }

  function runLink(id, parameters = {}) {
    return `${page()}#/run/${encodeURIComponent(id)}${query(parameters)}`;
  }

  /** Link to two sides, each [run] or [run, trial]. */
  function compareLink(left, right) {
    const side = (parts) => parts.map(encodeURIComponent).join("/");
    return `${page()}#/compare${query({ left: side(left), right: side(right) })}`;
  }

  /** Split an address as #/run/ID?trials=a,b; its values stay encoded, as their own separators need it. */
  function parse(hash) {
    const [path, text] = hash.replace(/^#\/?/, "").split("?");
    const [kind, id] = path.split("/");
    const parameters = new Map((text ?? "").split("&").filter(Boolean).map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]));
    return { kind, id: id === undefined ? undefined : decodeURIComponent(id), parameters: { get: (name) => parameters.get(name) ?? null } };
  }

  function make({ kind, id, parameters }) {
    if (kind === "run") return new RunView(place, id, parameters);
    if (kind === "compare") return new SideBySide(place, id, parameters);
    return source.report === null ? new RunList(place) : new RunView(place, source.report.runs[0].id, parameters);
  }

  async function open() {
    const address = parse(window.location.hash);
    view?.close();
    notice("");
    const own = (view = make(address));
    crumbs(address);
    dom.show(place, dom.el("p", { class: "faint" }, "Loading …"));
    try {
      await own.open();
    } catch (error) {
      if (own !== view) return;
      const back = source.report === null ? dom.el("a", { href: `${page()}#/` }, "All runs") : null;
      dom.show(place, dom.el("h1", {}, "Cannot be shown"), dom.el("p", { class: "message", role: "alert" }, error.message), back);
    }
    if (own !== view) own.close();
  }

  function crumbs({ kind, id }) {
    const home = source.report === null ? dom.el("a", { href: `${page()}#/` }, "Maxent Ray") : dom.el("span", {}, "Maxent Ray");
    const run = source.report === null ? id : source.report.runs[0].name;
    const here = kind === "compare" ? "side by side" : run;
    const up = kind === "compare" && source.report !== null ? dom.el("a", { href: `${page()}#/` }, run) : null;
    dom.show(document.getElementById("crumbs"), home, up && dom.el("span", { "aria-hidden": "true" }, "/"), up, here && dom.el("span", { "aria-hidden": "true" }, "/"), here && dom.el("span", { "aria-current": "page" }, here));
    document.title = here ? `${here}, Maxent Ray` : "Maxent Ray";
  }

  /** Show a sentence over everything; an empty one takes it away. */
  function notice(text) {
    const line = document.getElementById("notice");
    line.textContent = text;
    line.hidden = text === "";
  }

  function start() {
    theme.start();
    window.addEventListener("hashchange", open);
    document.getElementById("skip").addEventListener("click", (event) => {
      event.preventDefault(); // the fragment of the address names the view
      place.focus();
    });
    document.addEventListener("keydown", (event) => event.key === "Escape" && view?.zoom?.reset());
    printing();
    open();
  }

  /** Print on white, with every part open, and go back afterwards. */
  function printing() {
    let closed = [];
    window.addEventListener("beforeprint", () => {
      closed = [...document.querySelectorAll("details.more:not([open]), details.legend:not([open])")];
      for (const each of closed) each.open = true;
      document.documentElement.classList.add("printing");
      theme.force("light");
    });
    window.addEventListener("afterprint", () => {
      for (const each of closed) each.open = false;
      document.documentElement.classList.remove("printing");
      theme.force(null);
    });
  }

  return { start, runLink, compareLink, notice };
})();
main.start();
