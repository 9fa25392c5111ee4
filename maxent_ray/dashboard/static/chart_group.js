"use strict";
/* The range of steps that charts have in common. */
class Zoom {
  constructor(key) {
    this.key = key;
    this.from = null;
    this.to = null;
    this.changed = new Set();
  }

  get active() {
    return this.from !== null;
  }

  set(from, to) {
    if (!(to > from)) return;
    [this.from, this.to] = [Math.max(0, from), to];
    for (const listener of this.changed) listener();
  }

  /** Zoom in or out around a step, within the steps that there are. */
  by(factor, centre, [from, to], steps) {
    const middle = centre ?? (from + to) / 2;
    const half = Math.max(1, ((to - from) / 2) * factor);
    this.set(Math.round(middle - half), Math.min(steps, Math.round(middle + half)));
  }

  reset() {
    if (!this.active) return;
    this.from = this.to = null;
    for (const listener of this.changed) listener();
  }
}

/* Charts of one run that share trials, steps and cursor; each is loaded when it comes into view. */
class ChartGroup {
  constructor(run, selection, zoom, key) {
    Object.assign(this, { run, selection, zoom, key, heading: "h4", charts: [], loaded: new Set(), cursor: new Set(), grown: new Set(), loading: new Map() });
    this.steps = Math.max(1, ...run.trials.map((trial) => trial.steps));
    this.seen = new IntersectionObserver((entries) => this.appear(entries), { rootMargin: "300px" });
    selection.changed.add((what) => this.reselect(what));
    zoom.changed.add(() => this.reload());
    this.recolour = () => this.charts.forEach((chart) => chart.rebuild());
    theme.changed.add(this.recolour);
    this.print = () => this.charts.filter((chart) => !this.loaded.has(chart)).forEach((chart) => this.load(chart));
    window.addEventListener("beforeprint", this.print);
  }

  /** Make the chart of a signal. */
  add(signal) {
    const chart = new Chart(this, signal);
    this.charts.push(chart);
    this.seen.observe(chart.node);
    return chart;
  }

  close() {
    this.seen.disconnect();
    theme.changed.delete(this.recolour);
    window.removeEventListener("beforeprint", this.print);
    this.charts.forEach((chart) => chart.plot?.destroy());
  }

  /** Label of a signal by its name. */
  label(name) {
    return this.run.signals.find((signal) => signal.name === name)?.label ?? name;
  }

  stepRange() {
    return this.zoom.active ? [this.zoom.from, this.zoom.to] : [Math.min(1, this.steps - 1), this.steps];
  }

  appear(entries) {
    for (const { target, isIntersecting } of entries) {
      const chart = this.charts.find((each) => each.node === target);
      if (isIntersecting && !this.loaded.has(chart)) this.load(chart);
    }
  }

  /** Points asked for of each series: fewer where there are many trials, every step where the range is short. */
  get points() {
    return Math.round(Math.min(600, Math.max(120, 24000 / Math.max(1, this.selection.visible().length))));
  }

  parameters(chart) {
    const shown = this.selection.visible();
    return {
      signal: chart.fetched,
      trial: shown.length === 1 ? shown[0].trial : null,
      from: this.zoom.active ? this.zoom.from : null,
      to: this.zoom.active ? this.zoom.to : null,
      points: this.points,
    };
  }

  /** Fetch a chart's series for the range shown; an answer that a later request has overtaken is dropped. */
  async load(chart) {
    this.loaded.add(chart);
    const ticket = {};
    this.loading.set(chart, ticket);
    try {
      const answer = await source.fetchJson(source.url(this.run.id, "series", this.parameters(chart)));
      if (this.loading.get(chart) === ticket) chart.take(chartData.index(answer));
    } catch (error) {
      chart.summary.textContent = error.message;
    }
  }

  reload() {
    for (const chart of this.loaded) {
      chart.rescale();
      this.load(chart);
    }
  }

  reselect(what) {
    const names = this.selection.visible().map((trial) => trial.trial);
    for (const chart of this.loaded) {
      chart.reselect(what);
      if (what === "focus") this.tellCursor(chart, chart.step ?? null);
      const lacks = names.some((name) => chart.kept !== null && !chart.kept.has(chartData.key(name, chart.signal.name)));
      if (what === "shown" && lacks) this.load(chart);
    }
  }

  /** Take a newer answer on the run, and the steps that its trials have reached since; all anew if they went back. */
  async extend(run, back) {
    const others = run.trials.length !== this.run.trials.length;
    this.run = run;
    this.steps = Math.max(1, ...run.trials.map((trial) => trial.steps));
    for (const listener of this.grown) listener();
    if (this.zoom.active) return;
    await Promise.all([...this.loaded].map((chart) => (back || others || chart.kept === null ? this.load(chart) : this.grow(chart))));
  }

  async grow(chart) {
    const shown = [...chart.kept.values()];
    const longest = Math.max(0, ...shown.map((each) => each.step.length));
    if (longest > 2 * this.points) return this.load(chart);
    const from = Math.min(...this.run.trials.map((trial) => this.reached(chart, trial)).filter((step) => step !== null)) + 1;
    if (!Number.isFinite(from)) return undefined;
    const answer = await source.fetchJson(source.url(this.run.id, "series", { ...this.parameters(chart), from })).catch(() => null);
    if (answer === null) return undefined;
    return chartData.append(chart.kept, answer) ? chart.draw() : this.load(chart);
  }

  /** Last step that a chart has of a trial which has gone on since; null if it has not. */
  reached(chart, trial) {
    if (!this.selection.shows(trial.trial)) return null;
    const last = chart.kept.get(chartData.key(trial.trial, chart.signal.name))?.step.at(-1) ?? 0;
    return last < trial.steps ? last : null;
  }

  /** Show the values at the cursor: in each chart's own line, and of the chart pointed at in the legend. */
  tellCursor(chart, step) {
    chart.step = step;
    const nearest = this.selection.focus;
    if (step === null || chart.kept === null) chart.readout.textContent = "";
    else {
      const [value, target] = nearest === null ? [] : chart.at(nearest, step);
      const goal = target === undefined || target === null ? "" : ` (target ${format.number(target)})`;
      chart.readout.textContent = nearest === null ? `step ${step}` : `step ${step}: ${nearest} ${format.number(value)}${goal}`;
    }
    for (const listener of this.cursor) listener(chart, step);
  }
}
