"use strict";
/* One run: its charts and all that its records tell. */
class RunView {
  constructor(main, id, parameters) {
    this.main = main;
    this.id = id;
    const only = parameters.get("trials");
    this.only = only === null ? null : only.split(",").map(decodeURIComponent);
    this.section = parameters.get("section");
  }

  async open() {
    this.run = await source.fetchJson(source.url(this.id));
    this.stop = source.follow(this.id, { run: (event) => this.changed(event), gone: ({ id }) => id === this.id && this.gone() });
    if (this.run.status === "unreadable") throw new Error(this.run.message);
    this.selection = new Selection(this.run, this.only);
    this.zoom = new Zoom(`run-${this.id}`);
    this.group = new ChartGroup(this.run, this.selection, this.zoom, "run");
    this.build();
    this.selection.changed.add((what) => what === "shown" && this.remember());
    await Promise.all([this.decisions.ready, this.answers.ready]); // so that nothing above grows after the jump
    if (this.section !== null) this.go(this.section, "instant");
  }

  close() {
    this.stop?.();
    this.group?.close();
    clearTimeout(this.timer);
  }

  build() {
    this.head = dom.el("div", { class: "run-head" });
    this.legend = legend.make(this.group);
    this.decisions = new Decisions(this.run);
    this.answers = new Answers(this.run);
    this.parts = {
      curves: ["Curves", this.curves()],
      ...(this.holdsOut ? { "held-out": ["Held-out metrics", dom.el("div", {})] } : {}),
      comparison: ["Comparison", dom.el("div", {})],
      lineage: ["Lineage", dom.el("div", {})],
      alarms: ["Alarms", dom.el("div", {})],
      decisions: ["Decisions", this.decisions.node],
      ...(this.holdsOut ? { answers: ["Answers sampled", this.answers.node] } : {}),
      settings: ["Settings", dom.el("div", {}, tables.settings(this.run))],
    };
    const entries = Object.entries(this.parts);
    const jump = (name, label) => dom.el("a", { href: main.runLink(this.id, { section: name }), onclick: (event) => this.jump(event, name) }, label);
    this.places = new Map(entries.map(([name, [label, node]]) => [name, dom.el("section", { id: `part-${name}`, "aria-labelledby": `title-${name}` }, dom.el("h2", { id: `title-${name}`, tabindex: "-1" }, label), node)]));
    const links = dom.el("nav", { class: "sections", "aria-label": "Parts of this run" }, entries.map(([name, [label]]) => jump(name, label)));
    const side = dom.el("aside", { "aria-label": "Trials" }, this.legend.node);
    dom.show(this.main, this.head, links, dom.el("div", { class: "run-body" }, side, dom.el("div", { class: "parts" }, [...this.places.values()])));
    this.fill();
  }

  /** Fill what is made anew whenever the run's answer changes. */
  fill() {
    this.showHead();
    const fill = (name, nodes) => dom.show(this.parts[name][1], nodes);
    if (this.holdsOut) fill("held-out", heldOut.part(this.run, this.selection));
    fill("comparison", tables.comparison(this.run));
    fill("alarms", tables.alarms(this.run));
    fill("lineage", lineage.part(this.run, this.selection));
  }

  /** False where nothing is held out and no answers are sampled, as in a run of RLlib. */
  get holdsOut() {
    return this.run.metrics.length > 0;
  }

  showHead() {
    const { run } = this;
    const steps = `${run.steps_done.toLocaleString("en")}${run.steps_total ? ` of ${run.steps_total.toLocaleString("en")}` : ""} steps`;
    const torn = run.counts.torn_lines ? `${format.count(run.counts.torn_lines, "line")} left out as they are cut off` : null;
    const facts = [run.kind, format.count(run.trials.length, "trial"), steps, format.count(run.clones.length, "clone"), format.count(run.alarms.length, "alarm"), run.started && `started ${format.moment(run.started)}`, run.updated && `updated ${format.moment(run.updated)}`, torn, run.reading && "still reading the records: curves are a first sample", source.report?.notes.series];
    const failed = run.trials.filter((trial) => trial.message).map((trial) => dom.el("p", { class: "message" }, `${trial.trial}: ${trial.message}`));
    dom.show(
      this.head,
      dom.el("div", { class: "head-line" }, dom.el("h1", {}, run.name), format.state(run.status), this.compareLink()),
      dom.el("p", { class: "facts" }, facts.filter(Boolean).join(" · ")),
      run.message && dom.el("p", { class: "message" }, run.message),
      failed,
    );
  }

  compareLink() {
    if (source.report !== null && this.run.trials.length < 2) return null;
    const [first, second] = this.selection.visible();
    if (second === undefined) return null;
    return dom.el("a", { class: "button", href: main.compareLink([this.id, first.trial], [this.id, second.trial]) }, "Compare two trials");
  }

  curves() {
    const own = chartedSignals(this.run);
    const cards = (group) => dom.el("div", { class: "charts" }, own.filter((signal) => signal.group === group).map((signal) => this.group.add(signal).node));
    const cost = dom.el("details", { class: "more" }, dom.el("summary", {}, dom.el("h3", {}, "Cost and faults")), cards("cost"));
    return dom.el("div", {}, zoomBar(this.group), dom.el("h3", {}, "Control"), cards("control"), dom.el("h3", {}, "Training"), cards("training"), cost);
  }

  jump(event, name) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.go(name);
  }

  go(name, behavior = "smooth") {
    const place = this.places.get(name);
    if (place === undefined) return;
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    place.scrollIntoView({ behavior: still ? "instant" : behavior });
    place.querySelector("h2").focus({ preventScroll: true });
  }

  /** Keep the trials shown in the address, so that it can be sent. */
  remember() {
    const shown = this.selection.visible().map((trial) => encodeURIComponent(trial.trial)).join(",");
    window.history.replaceState(null, "", main.runLink(this.id, this.selection.hidden.size ? { trials: shown } : {}));
  }

  /** Fetch what is new, at most every two seconds and only while the page is seen. */
  changed({ steps }) {
    this.back ||= Selection.wentBack(this.run, steps);
    if (this.timer !== undefined || this.group === undefined) return;
    const wait = () => (document.hidden ? void (this.timer = setTimeout(wait, 2000)) : this.refresh().finally(() => (this.timer = undefined)));
    this.timer = setTimeout(wait, 2000);
  }

  async refresh() {
    const run = await source.fetchJson(source.url(this.id)).catch((error) => (error.status === 404 || error.status === 410 ? this.gone() : null));
    if (!run) return;
    const trials = JSON.stringify(run.trials.map((trial) => [trial.trial, trial.state]));
    const others = trials !== JSON.stringify(this.run.trials.map((trial) => [trial.trial, trial.state]));
    const back = this.back || this.run.reading === true;
    [this.back, this.run] = [false, run];
    this.selection.update(run);
    if (others) this.legend.fill();
    this.fill();
    this.answers.run = run;
    await Promise.all([this.group.extend(run, back), this.decisions.refresh(run)]);
  }

  gone() {
    main.notice(`${this.run.name} was deleted or cannot be read any more; this is the last that was read.`);
    return null;
  }
}

/** Signals that have a chart of their own: those with a target first; targets and scales belong to the charts of theirs. */
function chartedSignals(run) {
  const parts = new Set(run.signals.flatMap((signal) => [signal.target, signal.error_scale]));
  return run.signals.filter((signal) => !parts.has(signal.name)).sort((a, b) => (a.target === null) - (b.target === null));
}

/** Make the line over charts that says what range is shown, and changes it without a mouse. */
function zoomBar(...groups) {
  const { zoom } = groups[0];
  const field = (name) => dom.el("input", { type: "number", min: 0, name, "aria-label": name === "from" ? "First step" : "Last step" });
  const [from, to] = [field("from"), field("to")];
  const reset = dom.el("button", { type: "button", class: "small", onclick: () => zoom.reset() }, "Reset zoom");
  const told = dom.el("span", { class: "faint", role: "status", "aria-live": "polite" });
  const apply = (event) => {
    event.preventDefault();
    zoom.set(Number(from.value), Number(to.value));
  };
  const show = () => {
    if ([from, to].includes(document.activeElement) && !zoom.active) return; // not under the reader's hands
    const range = groups.map((group) => group.stepRange());
    [from.value, to.value] = [Math.min(...range.map(([low]) => low)), Math.max(...range.map(([, high]) => high))];
    reset.disabled = !zoom.active;
    told.textContent = zoom.active ? `Zoomed to steps ${zoom.from} to ${zoom.to}.` : "Drag over a chart to zoom; double click or Esc goes back.";
  };
  zoom.changed.add(show);
  for (const group of groups) group.grown.add(show);
  show();
  return dom.el("form", { class: "zoom", onsubmit: apply }, dom.el("span", {}, "Steps "), from, dom.el("span", {}, " to "), to, dom.el("button", { class: "small" }, "Zoom"), reset, told);
}
