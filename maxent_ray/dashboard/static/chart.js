"use strict";
/* One chart: a signal of all shown trials over their steps, its target dotted, clones as diamonds. */
class Chart {
  /** @param group the ChartGroup that it belongs to; @param signal an entry of the run's signals. */
  constructor(group, signal) {
    this.group = group;
    this.signal = signal;
    this.log = signal.scale === "log";
    this.kept = null;
    this.plot = null;
    this.partner = null;
    this.build();
  }

  build() {
    const { label, unit, description } = this.signal;
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
    const target = this.signal.target === null ? null : dom.el("span", { class: "faint" }, ` against ${this.group.label(this.signal.target)} (dotted)`);
    this.logButton = dom.el("button", { type: "button", class: "small", "aria-pressed": String(this.log), onclick: () => this.toggleLog() }, "log");
    this.node = dom.el(
      "article",
      { class: "chart", "data-signal": this.signal.name },
      dom.el("header", {}, dom.el("h4", {}, label, target, unit && dom.el("span", { class: "faint" }, `, ${unit}`)), this.logButton),
      dom.el("p", { class: "about" }, description),
      this.readout,
      this.place,
      this.summary,
      chartText.dataPart(this),
    );
    new ResizeObserver(() => this.resize()).observe(this.place);
  }

  get signals() {
    return [this.signal.name, this.signal.target].filter((name) => name !== null);
  }

  /** Take an answer and draw it. */
  take(kept) {
    this.kept = kept;
    this.draw();
  }

  toggleLog() {
    this.log = !this.log;
    this.logButton.setAttribute("aria-pressed", String(this.log));
    this.rebuild();
  }

  rebuild() {
    this.plot?.destroy();
    this.plot = null;
    if (this.kept !== null) this.draw();
  }

  /** Trials in the order of the plot's series. */
  get trials() {
    return this.group.selection.trials;
  }

  draw() {
    const keys = this.signals.flatMap((signal) => this.trials.map((trial) => chartData.key(trial.trial, signal)));
    const data = chartData.columns(this.kept, keys, this.log);
    const drawn = keys.join();
    if (this.plot !== null && this.drawn === drawn) this.plot.setData(data);
    else {
      this.plot?.destroy();
      this.drawn = drawn;
      this.plot = new uPlot(this.options(), data, this.place);
      this.plot.root.setAttribute("aria-hidden", "true");
    }
    this.partner?.rescale();
    this.summary.textContent = chartText.summary(this);
  }

  options() {
    const { width, height } = this.size();
    return {
      width,
      height,
      padding: [10, 12, 0, 0],
      legend: { show: false },
      focus: { alpha: 1 },
      cursor: {
        sync: { key: this.group.zoom.key, setSeries: false },
        drag: { x: true, y: false, setScale: false, dist: 5 },
        focus: { prox: 18 },
        points: { size: 7, width: 1.5 },
        dataIdx: (plot, series, index) => this.nearest(plot, series, index),
        bind: { dblclick: () => () => this.group.zoom.reset() },
      },
      scales: {
        x: { time: false, range: () => this.group.stepRange() },
        y: { distr: this.log ? 3 : 1, range: () => this.valueRange() },
      },
      axes: [this.axis("x"), this.axis("y")],
      series: [{}, ...this.signals.flatMap((name) => this.trials.map((trial) => this.series(trial, name === this.signal.target)))],
      hooks: {
        setCursor: [(plot) => this.tellCursor(plot)],
        setSelect: [(plot) => this.select(plot)],
        setSeries: [(_, index, change) => "focus" in change && this.group.selection.emphasise(index ? this.trials[(index - 1) % this.trials.length].trial : null)],
        draw: [(plot) => this.drawClones(plot)],
      },
    };
  }

  series(trial, target) {
    return {
      show: this.group.selection.shows(trial.trial),
      stroke: () => this.stroke(trial),
      width: target ? 1 : 1.75,
      dash: target ? [1.5, 3] : trial.dash,
      points: { show: (plot) => !target && plot.data[0].length === 1 },
      spanGaps: false,
    };
  }

  /** Colour of a trial's line: later trials of an objective, and all but the one that stands out, are fainter. */
  stroke(trial) {
    const { focus } = this.group.selection;
    const own = Math.max(0.4, 1 - 0.2 * Math.floor(trial.index / Selection.DASHES.length));
    const alpha = focus === null ? own : focus === trial.trial ? 1 : 0.18;
    return theme.objective(trial.colour).replace(")", ` / ${alpha})`);
  }

  axis(scale) {
    const log = this.log;
    const across = scale === "x";
    return {
      scale,
      stroke: theme.colour("muted"),
      font: "11px system-ui, sans-serif",
      size: across ? 26 : 54,
      gap: 4,
      grid: { stroke: theme.colour("line"), width: 1 },
      ticks: { show: false },
      splits: (plot, _, low, high) => (across ? axes.stepTicks(low, high, plot.width > 500 ? 8 : 5) : log ? axes.logTicks(low, high) : axes.linearTicks(low, high, 5)),
      values: (_, splits) => splits.map((value) => (across ? value.toLocaleString("en") : format.number(value))),
      filter: (_, splits) => splits,
    };
  }

  /** Lowest and highest value that is shown; null where nothing is. */
  extent() {
    if (this.kept === null) return null;
    const [from, to] = this.group.stepRange();
    const values = [];
    for (const trial of this.group.selection.visible()) {
      for (const signal of this.signals) {
        const each = this.kept.get(chartData.key(trial.trial, signal));
        for (const [at, step] of (each?.step ?? []).entries()) {
          const value = each.value[at];
          if (step >= from && step <= to && value !== null && !(this.log && value <= 0)) values.push(value);
        }
      }
    }
    return values.length ? values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]) : null;
  }

  valueRange() {
    const extents = [this.extent(), this.partner?.extent() ?? null].filter((each) => each !== null);
    return axes.padded(Math.min(...extents.map(([low]) => low)), Math.max(...extents.map(([, high]) => high)), this.log);
  }

  rescale() {
    this.plot?.setScale("x", { min: null, max: null });
    this.plot?.setScale("y", { min: null, max: null });
  }

  /** Index of the series' own point that is nearest to the cursor. */
  nearest(plot, series, index) {
    const values = plot.data[series];
    for (let away = 0; away < values.length; away += 1) {
      if (values[index - away] !== undefined) return index - away;
      if (values[index + away] !== undefined) return index + away;
    }
    return index;
  }

  tellCursor(plot) {
    const index = plot.cursor.idx;
    const step = index === null || index === undefined ? null : plot.data[0][index];
    this.group.tellCursor(this, step);
  }

  /** Values of a trial and its target at a step. */
  at(trial, step) {
    return this.signals.map((signal) => chartData.valueAt(this.kept.get(chartData.key(trial, signal)), step));
  }

  select(plot) {
    if (plot.select.width < 5) return;
    const [from, to] = [plot.select.left, plot.select.left + plot.select.width].map((at) => plot.posToVal(at, "x"));
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.group.zoom.set(Math.floor(from), Math.ceil(to));
  }

  /** Move the cursor and zoom by keyboard. */
  key(event) {
    if (this.plot === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    if (event.key in moves) this.moveCursor(moves[event.key]);
    else if (event.key === "+" || event.key === "-") this.group.zoom.by(event.key === "+" ? 0.5 : 2, this.plot.data[0][this.plot.cursor.idx], this.group.stepRange());
    else return;
    event.preventDefault();
  }

  moveCursor(by) {
    const steps = this.plot.data[0];
    const [from, to] = this.group.stepRange();
    const now = this.plot.cursor.idx ?? steps.findIndex((step) => step >= from) - by;
    const first = steps.findIndex((step) => step >= from);
    const last = steps.findLastIndex((step) => step <= to);
    const index = Math.min(last, Math.max(first, now + by));
    this.plot.setCursor({ left: this.plot.valToPos(steps[index], "x"), top: this.plot.over.clientHeight / 2 });
    this.readout.setAttribute("aria-live", "polite");
  }

  drawClones(plot) {
    const [from, to] = this.group.stepRange();
    for (const clone of this.group.run.clones) {
      const trial = this.trials.find((each) => each.trial === clone.recipient);
      if (trial === undefined || !this.group.selection.shows(trial.trial) || clone.step < from || clone.step > to) continue;
      const [value] = this.at(trial.trial, clone.step);
      if (value === null || (this.log && value <= 0)) continue;
      this.diamond(plot.ctx, plot.valToPos(clone.step, "x", true), plot.valToPos(value, "y", true), this.stroke(trial));
    }
  }

  diamond(context, x, y, colour) {
    const size = 5 * window.devicePixelRatio;
    context.save();
    context.beginPath();
    for (const [dx, dy] of [[0, -size], [size, 0], [0, size], [-size, 0]]) context.lineTo(x + dx, y + dy);
    context.closePath();
    context.fillStyle = colour;
    context.strokeStyle = theme.colour("surface");
    context.lineWidth = 1.5 * window.devicePixelRatio;
    context.fill();
    context.stroke();
    context.restore();
  }

  size() {
    return { width: Math.max(160, Math.floor(this.place.clientWidth)), height: 200 };
  }

  resize() {
    const { width, height } = this.size();
    if (this.plot !== null && this.plot.width !== width && this.place.clientWidth > 0) this.plot.setSize({ width, height });
  }

  /** Show what changed in the selection of trials. */
  reselect(what) {
    if (this.plot === null) return;
    if (what === "focus") return void this.plot.redraw(false);
    for (const [index, each] of this.signals.flatMap(() => this.trials).entries()) {
      this.plot.setSeries(index + 1, { show: this.group.selection.shows(each.trial) });
    }
    this.rescale();
    this.partner?.rescale();
    this.summary.textContent = chartText.summary(this);
  }
}
