"use strict";
/* Two runs or two trials side by side, with the same axes. */
class SideBySide {
  constructor(main, id, parameters) {
    this.main = main;
    this.sides = ["left", "right"].map((name) => {
      const [run, trial] = (parameters.get(name) ?? "").split("/").map(decodeURIComponent);
      return { name, id: run, trial: trial ?? "" };
    });
  }

  async open() {
    this.runs = source.report === null ? (await source.fetchJson("api/runs")).runs.filter((run) => run.status !== "unreadable") : source.report.runs;
    this.zoom = new Zoom("side-by-side");
    await Promise.all(this.sides.map((side) => this.load(side)));
    this.build();
    this.stops = this.sides.map((side) => source.follow(side.id, { run: (event) => this.changed(side, event), gone: ({ id }) => id === side.id && main.notice(`${id} was deleted or cannot be read any more; this is the last that was read.`) }));
  }

  close() {
    this.stops?.forEach((stop) => stop());
    this.sides.forEach((side) => side.group?.close());
    clearTimeout(this.timer);
  }

  async load(side) {
    side.run = await source.fetchJson(source.url(side.id));
    if (side.run.status === "unreadable") throw new Error(`${side.run.name}: ${side.run.message}`);
    if (side.trial && !side.run.trials.some((trial) => trial.trial === side.trial)) throw new Error(`${side.run.name} has no trial ${side.trial}; choose one on the run's own page.`);
    side.selection = new Selection(side.run, side.trial ? [side.trial] : null);
    side.group = new ChartGroup(side.run, side.selection, this.zoom, side.name);
    side.group.heading = "h3";
  }

  build() {
    const [left, right] = this.sides;
    const steps = () => [1, Math.max(left.group.steps, right.group.steps)];
    for (const side of this.sides) side.group.stepRange = () => (this.zoom.active ? [this.zoom.from, this.zoom.to] : steps());
    const common = chartedSignals(left.run).filter((signal) => signal.group !== "cost" && right.run.signals.some((other) => other.name === signal.name));
    const head = dom.el("div", { class: "head-line" }, dom.el("h1", {}, "Side by side"));
    const pickers = dom.el("div", { class: "two" }, this.sides.map((side) => this.picker(side)));
    const charts = dom.el("div", { class: "two" }, common.flatMap((signal) => this.pair(signal)));
    dom.show(this.main, head, pickers, dom.el("section", { "aria-label": "Curves" }, dom.el("h2", {}, "Curves"), zoomBar(left.group, right.group), charts), this.differences());
  }

  pair(signal) {
    const [left, right] = this.sides.map((side) => side.group.add(signal));
    [left.partner, right.partner] = [right, left];
    left.node.querySelector(".chart-title").append(dom.el("span", { class: "side" }, ` ${this.title(this.sides[0])}`));
    right.node.querySelector(".chart-title").append(dom.el("span", { class: "side" }, ` ${this.title(this.sides[1])}`));
    return [left.node, right.node];
  }

  title(side) {
    return side.trial || side.run.name;
  }

  picker(side) {
    const option = (value, label, chosen) => dom.el("option", { value, selected: chosen }, label);
    const runs = dom.el("select", { name: `${side.name}-run`, onchange: () => this.choose(side, runs.value, "") }, this.runs.map((run) => option(run.id, run.name, run.id === side.id)));
    const trials = side.run.trials.map((trial) => trial.trial).sort(format.natural);
    const trial = dom.el("select", { name: `${side.name}-trial`, onchange: () => this.choose(side, side.id, trial.value) }, option("", "all trials", !side.trial), trials.map((name) => option(name, name, name === side.trial)));
    const word = side.name === "left" ? "Left" : "Right";
    return dom.el("div", { class: "filters", role: "group", "aria-label": `${word} side` }, dom.el("label", {}, `${word}: run `, runs), dom.el("label", {}, "trial ", trial), format.state(side.run.status));
  }

  choose(side, id, trial) {
    Object.assign(side, { id, trial });
    const [left, right] = this.sides.map((each) => (each.trial ? [each.id, each.trial] : [each.id]));
    window.location.assign(main.compareLink(left, right));
  }

  /** Settings in which the two sides differ. */
  differences() {
    const [left, right] = this.sides.map((side) => ({ ...side.run.settings, ...side.run.trials.find((trial) => trial.trial === side.trial)?.settings }));
    const keys = [...new Set([...Object.keys(left), ...Object.keys(right)])].sort();
    const rows = keys.map((key) => [key, format.setting(left[key]), format.setting(right[key])]).filter(([, one, other]) => one !== other);
    const columns = [{ label: "setting" }, ...this.sides.map((side) => ({ label: this.title(side), numeric: true }))];
    const table = rows.length ? dom.scroller("Settings that differ", dom.table("Settings that differ", columns, rows)) : dom.el("p", {}, "None.");
    return dom.el("section", { "aria-label": "Settings that differ" }, dom.el("h2", {}, "Settings that differ"), table);
  }

  changed(side, { steps }) {
    side.back ||= Selection.wentBack(side.run, steps);
    side.waiting ??= setTimeout(async () => {
      side.waiting = undefined;
      const run = await source.fetchJson(source.url(side.id)).catch(() => null);
      if (run === null) return;
      const back = side.back || side.run.reading === true;
      Object.assign(side, { run, back: false });
      side.selection.update(run);
      await side.group.extend(run, back);
    }, 2000);
  }
}
