"use strict";
/* The list of runs. */
class RunList {
  constructor(main) {
    this.main = main;
    this.runs = new Map();
    this.chosen = new Set();
  }

  async open() {
    const answer = await source.fetchJson("api/runs");
    for (const run of answer.runs) this.runs.set(run.id, run);
    this.place = dom.el("div", { class: "run-list" });
    this.compare = dom.el("button", { type: "button", onclick: () => this.goCompare() });
    const head = dom.el("div", { class: "head-line" }, dom.el("h1", {}, "Runs"), dom.el("p", { class: "faint path" }, `in ${answer.root}`), this.compare);
    dom.show(this.main, head, this.place);
    this.show();
    this.stop = source.follow(null, {
      runs: ({ runs }) => this.update(runs),
      gone: ({ id }) => this.forget(id),
    });
  }

  close() {
    this.stop?.();
  }

  update(runs) {
    for (const run of runs) this.runs.set(run.id, run);
    this.show();
  }

  forget(id) {
    this.runs.delete(id);
    this.chosen.delete(id);
    this.show();
  }

  show() {
    const kept = document.activeElement?.dataset?.key;
    const runs = [...this.runs.values()].toSorted((a, b) => (b.updated ?? "").localeCompare(a.updated ?? "") || format.natural(a.id, b.id));
    const empty = dom.el("p", {}, "No runs here yet. Start one with ", dom.el("code", {}, "maxent-ray compare --config experiments/configs/compare.yaml --name first"), "; it appears by itself.");
    dom.show(this.place, runs.length ? this.table(runs) : empty);
    if (kept !== undefined) [...this.place.querySelectorAll("[data-key]")].find((each) => each.dataset.key === kept)?.focus();
    this.showChoice();
  }

  table(runs) {
    const heads = ["Run", "State", "Objectives", "Reward", "Steps", "Updated", "Compare"];
    return dom.el(
      "table",
      { class: "runs" },
      dom.el("caption", { class: "unseen" }, "Runs, the newest first"),
      dom.el("thead", {}, dom.el("tr", {}, heads.map((head) => dom.el("th", { scope: "col" }, head)))),
      dom.el("tbody", {}, runs.map((run) => this.line(run))),
    );
  }

  line(run) {
    const name = dom.el("a", { href: main.runLink(run.id), "data-key": `run ${run.id}` }, run.name);
    const kind = [run.kind, run.trials > 1 && `${run.trials} trials`].filter(Boolean).join(", ");
    const box = dom.el("input", { type: "checkbox", "data-key": `box ${run.id}`, "aria-label": `Compare ${run.name}`, onchange: (event) => this.choose(run.id, event.target.checked) });
    box.checked = this.chosen.has(run.id);
    return dom.el(
      "tr",
      {},
      dom.el("th", { scope: "row" }, name, dom.el("span", { class: "faint kind" }, kind), run.message && dom.el("span", { class: "message" }, run.message)),
      dom.el("td", {}, format.state(run.status), run.reading && dom.el("span", { class: "faint kind" }, "still reading")),
      dom.el("td", {}, run.objectives.join(", ")),
      dom.el("td", { class: "spark-cell" }, RunList.sparkline(run.sparkline, run.sparkline_of)),
      dom.el("td", { class: "number steps" }, RunList.steps(run)),
      dom.el("td", { class: "number" }, format.moment(run.updated)),
      dom.el("td", { class: "pick" }, box),
    );
  }

  static steps(run) {
    const text = `${run.steps_done.toLocaleString("en")}${run.steps_total ? ` / ${run.steps_total.toLocaleString("en")}` : ""}`;
    const bar = run.steps_total ? dom.el("progress", { max: run.steps_total, value: Math.min(run.steps_done, run.steps_total), "aria-label": `${text} steps` }) : null;
    return [text, bar];
  }

  static sparkline(values, signal) {
    const known = values.filter((value) => value !== null);
    if (known.length < 2) return dom.el("span", { class: "faint" }, format.NONE);
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const [first, last] = [known[0], known.at(-1)].map((value) => format.number(value, 3));
    const points = values.map((value, at) => (value === null ? null : `${2 + (116 * at) / (values.length - 1)},${22 - (20 * (value - low)) / (high - low || 1)}`));
    const line = dom.svg("polyline", { points: points.filter(Boolean).join(" ") });
    const drawn = dom.svg("svg", { class: "spark", viewBox: "0 0 120 24", role: "img", "aria-label": `Mean ${signal} from ${first} to ${last}` }, line);
    return [drawn, dom.el("span", { class: "number" }, last)];
  }

  choose(id, chosen) {
    if (chosen) this.chosen.add(id); else this.chosen.delete(id);
    this.showChoice();
  }

  showChoice() {
    this.compare.disabled = this.chosen.size !== 2;
    this.compare.textContent = this.chosen.size === 2 ? "Compare the two" : "Choose two to compare";
  }

  goCompare() {
    const [left, right] = this.chosen;
    window.location.assign(main.compareLink([left], [right]));
  }
}
