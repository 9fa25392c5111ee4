"use strict";
/* One chart: a signal of all shown trials over their steps, its target dotted, clones as diamonds. */
class Chart {
  /** @param group the ChartGroup that it belongs to; @param signal an entry of the run's signals. */
  constructor(group, signal) {
    this.group = group;
    this.signal = signal;
    this.log = signal.scale === "log";
    this.relative = false;
    this.kept = null;
    this.data = null;
    this.plot = null;
    this.partner = null;
    this.build();
  }

  build() {
    const { label, unit, description, target } = this.signal;
    const id = `${this.group.key}-${this.signal.name}`;
    this.readout = dom.el("p", { class: "readout" });
    this.summary = dom.el("p", { class: "summary", id: `${id}-summary` }, "Loading …");
    this.place = dom.el("div", {
      class: "plot",
      role: "img",
      tabindex: "0",
      "aria-label": `Chart of ${label} over policy steps`,
      "aria-describedby": `${id}-summary`,
      onkeydown: (event) => this.key(event),
      onblur: () => this.plot?.setCursor({ left: -10, top: -10 }),
    });
    const against = target === null ? null : ` against ${this.group.label(target)} (dotted)`;
    const title = dom.el(this.group.heading, { class: "chart-title" }, label, dom.el("span", { class: "faint" }, against, unit && `, ${unit}`));
    this.buttons = dom.el("div", { class: "chart-buttons" });
    this.showButtons();
    const about = dom.el("div", { class: "about" }, this.readout, dom.el("p", {}, description));
    const head = dom.el("header", {}, title, this.buttons);
    this.node = dom.el("article", { class: "chart", "data-signal": this.signal.name }, head, about, this.place, this.summary, chartText.dataPart(this));
    new ResizeObserver(() => this.resize()).observe(this.place);
  }

  /** Buttons that say what is drawn, and change it. */
  showButtons() {
    const button = (text, name, change) => dom.el("button", { type: "button", class: "small", "aria-label": `${this.signal.label}: ${name}, change`, onclick: () => this.change(change) }, text);
    const scale = button(this.log ? "log" : "linear", this.log ? "logarithmic axis" : "linear axis", { log: !this.log, relative: false });
    const what = button(this.relative ? "distance" : "value", this.relative ? "distance from the target" : "values", { relative: !this.relative, log: false });
    dom.show(this.buttons, this.signal.target === null ? null : what, scale);
  }

  change(settings) {
    const at = [...this.buttons.children].indexOf(document.activeElement);
    Object.assign(this, settings);
    this.showButtons();
    this.buttons.children[at]?.focus();
    this.rebuild();
  }

  /** Names of the signal and of its target, if it has one. */
  get signals() {
    return [this.signal.name, this.signal.target].filter((name) => name !== null);
  }

  /** Names of all that is fetched: those drawn, and the scale of the signal's error, if it has one. */
  get fetched() {
    return [...this.signals, this.signal.error_scale].filter((name) => name !== null);
  }

  /** Trials in the order of the plot's lines. */
  get trials() {
    return this.group.selection.trials;
  }

  /** Objectives whose mean is drawn. */
  get averaged() {
    return this.group.selection.means ? this.group.selection.objectives.filter((each) => each.trials.length > 1) : [];
  }

  /** Take an answer and draw it. */
  take(kept) {
    this.kept = kept;
    this.draw();
  }

  rebuild() {
    this.plot?.destroy();
    this.plot = null;
    if (this.kept !== null) this.draw();
  }

  draw() {
    const keys = this.fetched.flatMap((signal) => this.trials.map((trial) => chartData.key(trial.trial, signal)));
    this.data = chartData.columns(this.kept, keys, this.log);
    const scales = this.data.splice(1 + this.signals.length * this.trials.length);
    if (this.relative) chartData.relate(this.data, this.trials.length, scales);
    for (const objective of this.averaged) {
      const members = objective.trials.filter((trial) => this.group.selection.shows(trial.trial));
      this.data.push(chartData.mean(members.map((trial) => this.data[1 + this.trials.findIndex((each) => each.trial === trial.trial)])));
    }
    const drawn = JSON.stringify([keys, this.data.length]);
    if (this.plot !== null && this.drawn === drawn) this.plot.setData(this.data);
    else {
      this.plot?.destroy();
      this.drawn = drawn;
      this.plot = new uPlot(chartDrawing.options(this), this.data, this.place);
      this.plot.root.setAttribute("aria-hidden", "true");
    }
    this.partner?.rescale();
    this.summary.textContent = chartText.summary(this);
  }

  /** Lowest and highest value drawn within the range of steps; null where there is none. */
  extent() {
    if (this.data === null) return null;
    const [from, to] = this.group.stepRange();
    const [first, last] = [this.data[0].findIndex((step) => step >= from), this.data[0].findLastIndex((step) => step <= to)];
    let [low, high] = [Infinity, -Infinity];
    for (const [at, trial] of this.signals.flatMap(() => this.trials).entries()) {
      if (!this.group.selection.shows(trial.trial)) continue;
      for (let index = Math.max(0, first); index <= last; index += 1) {
        const value = this.data[at + 1][index];
        if (value === undefined || value === null) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    return low <= high ? [low, high] : null;
  }

  valueRange() {
    const extents = [this.extent(), this.partner?.extent() ?? null].filter((each) => each !== null);
    return axes.padded(Math.min(...extents.map(([low]) => low)), Math.max(...extents.map(([, high]) => high)), this.log);
  }

  rescale() {
    this.plot?.batch(() => {
      this.plot.setScale("x", { min: null, max: null });
      this.plot.setScale("y", { min: null, max: null });
    });
  }

  /** Values of a trial and of its target at a step. */
  at(trial, step) {
    return this.signals.map((signal) => chartData.valueAt(this.kept.get(chartData.key(trial, signal)), step));
  }

  /** Move the cursor and zoom by keyboard. */
  key(event) {
    if (this.plot === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    if (event.key in moves) this.moveCursor(moves[event.key]);
    else if (event.key === "+" || event.key === "-") this.group.zoom.by(event.key === "+" ? 0.5 : 2, this.data[0][this.plot.cursor.idx], this.group.stepRange(), this.group.steps);
    else return;
    event.preventDefault();
  }

  moveCursor(by) {
    const [from, to] = this.group.stepRange();
    const [first, last] = [this.data[0].findIndex((step) => step >= from), this.data[0].findLastIndex((step) => step <= to)];
    const now = this.plot.cursor.idx ?? (by > 0 ? first - 1 : last + 1);
    const index = Math.min(last, Math.max(first, now + by));
    this.readout.setAttribute("aria-live", "polite");
    this.plot.setCursor({ left: this.plot.valToPos(this.data[0][index], "x"), top: this.plot.over.clientHeight / 2 });
  }

  size() {
    return { width: Math.max(160, Math.floor(this.place.clientWidth)), height: 200 };
  }

  resize() {
    const size = this.size();
    if (this.plot !== null && this.plot.width !== size.width && this.place.clientWidth > 0) this.plot.setSize(size);
  }

  /** Show what changed in the selection of trials. */
  reselect(what) {
    if (this.plot === null) return;
    if (what === "focus") return void this.plot.redraw(false);
    if (what === "means" || this.averaged.length) this.draw();
    this.plot.batch(() => {
      for (const [index, trial] of this.signals.flatMap(() => this.trials).entries()) {
        const show = this.group.selection.shows(trial.trial);
        if (this.plot.series[index + 1].show !== show) this.plot.setSeries(index + 1, { show });
      }
    });
    this.rescale();
    this.partner?.rescale();
    this.summary.textContent = chartText.summary(this);
  }
}
