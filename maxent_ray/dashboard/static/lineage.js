"use strict";
/* Lineage: a lane for each trial over its steps, an arrow for each clone, thick the way of each objective's best policy. */
const lineage = (() => {
  const [WIDTH, LANE, NAMES, RIGHT, HEAD] = [860, 24, 150, 100, 22];

  function part(run, selection) {
    const references = new Set(run.objectives.filter((objective) => objective.reference).map((objective) => objective.name));
    const lanes = selection.trials.filter((trial) => trial.steps > 0 && !references.has(trial.objective));
    if (!lanes.length) return [dom.el("p", {}, "No steps of a population yet.")];
    const note = dom.el("div", { class: "lineage-note", "aria-live": "polite" });
    dom.show(note, dom.el("p", { class: "faint" }, run.clones.length ? "Point at an arrow or a trial, or move to it with the Tab key, for its settings." : "No trial was cloned in this run."));
    return [dom.el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Drawing of the lineage" }, draw(run, lanes, note)), note];
  }

  function draw(run, lanes, note) {
    const steps = Math.max(...lanes.map((trial) => trial.steps));
    const x = (step) => NAMES + (step / steps) * (WIDTH - NAMES - RIGHT);
    const y = new Map(lanes.map((trial, index) => [trial.trial, HEAD + LANE * (index + 0.5)]));
    const height = HEAD + LANE * lanes.length;
    const ticks = axes.stepTicks(0, steps, 8);
    const best = bestTrials(lanes);
    return dom.svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${height + 22}`, class: "lineage", role: "group", "aria-label": `Lineage of ${format.count(lanes.length, "trial")} with ${format.count(run.clones.length, "clone")}` },
      ticks.map((tick) => dom.svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: HEAD, y2: height })),
      ticks.map((tick) => dom.svg("text", { x: x(tick), y: height + 16, "text-anchor": "middle" }, String(tick))),
      dom.svg("text", { x: WIDTH - RIGHT + 8, y: 12 }, "score"),
      dom.svg("text", { x: NAMES - 10, y: height + 16, "text-anchor": "end" }, "step"),
      lanes.map((trial) => lane(trial, best, x, y, note)),
      best.flatMap((trial) => stretches(run, trial)).map((each) => thick(each, lanes, x, y)),
      run.clones.filter((clone) => y.has(clone.recipient) && y.has(clone.donor)).map((clone) => arrow(run, clone, x, y, note)),
    );
  }

  function bestTrials(lanes) {
    const best = new Map();
    const whole = lanes.filter((trial) => trial.state !== "stopped");
    for (const trial of whole.length ? whole : lanes) {
      const other = best.get(trial.objective);
      if (trial.score !== null && (other === undefined || trial.score > other.score)) best.set(trial.objective, trial);
    }
    return [...best.values()];
  }

  /** Stretches of lanes along which the final policy of a trial was trained. */
  function stretches(run, trial) {
    const found = [];
    let [name, end, clones] = [trial.trial, trial.steps, run.clones];
    for (;;) {
      const last = clones.findLastIndex((clone) => clone.recipient === name && clone.step <= end);
      if (last < 0) return [...found, { name, start: 0, end }];
      found.push({ name, start: clones[last].step, end });
      [name, end, clones] = [clones[last].donor, clones[last].step, clones.slice(0, last)];
    }
  }

  function lane(trial, best, x, y, note) {
    const at = y.get(trial.trial);
    const settings = Object.entries(trial.settings ?? {}).map(([key, value]) => [key, format.setting(value)]);
    const tell = () => tellTrial(note, trial, settings);
    const drawn = dom.svg(
      "g",
      { class: "lane", tabindex: "0", role: "img", "aria-label": `${trial.trial}, ${format.count(trial.steps, "step")}, score ${format.number(trial.score, 3)}`, onpointerenter: tell, onfocus: tell },
      dom.svg("rect", { class: "hit", x: 0, y: at - LANE / 2, width: WIDTH, height: LANE }),
      dom.svg("text", { x: NAMES - 10, y: at + 4, "text-anchor": "end" }, trial.trial.length > 22 ? `${trial.trial.slice(0, 21)}…` : trial.trial),
      dom.svg("line", { class: "own-stroke thin", x1: x(0), x2: x(trial.steps), y1: at, y2: at }),
      dom.svg("text", { x: WIDTH - RIGHT + 8, y: at + 4, class: best.includes(trial) ? "best" : null }, `${format.number(trial.score, 3)}${best.includes(trial) ? " best" : ""}`),
    );
    return dom.own(drawn, trial.colour);
  }

  function thick(each, lanes, x, y) {
    if (!y.has(each.name)) return null;
    const colour = lanes.find((trial) => trial.trial === each.name).colour;
    const at = y.get(each.name);
    return dom.own(dom.svg("line", { class: "own-stroke thick", x1: x(each.start), x2: x(each.end), y1: at, y2: at }), colour);
  }

  function arrow(run, clone, x, y, note) {
    const [at, from, to] = [x(clone.step), y.get(clone.donor), y.get(clone.recipient)];
    const bend = at + Math.min(40, 14 + Math.abs(to - from) / 5);
    const tip = to > from ? -1 : 1;
    const tell = () => tellClone(note, run, clone);
    return dom.svg(
      "g",
      { class: "clone", tabindex: "0", role: "img", "aria-label": `Step ${clone.step}: ${clone.recipient} became a clone of ${clone.donor}`, onpointerenter: tell, onfocus: tell },
      dom.svg("path", { class: "hit-line", d: `M${at} ${from} Q${bend} ${(from + to) / 2} ${at} ${to}` }),
      dom.svg("path", { class: "arrow", d: `M${at} ${from} Q${bend} ${(from + to) / 2} ${at + 2} ${to + 5 * tip}` }),
      dom.svg("path", { class: "tip", d: `M${at} ${to} l9 ${5 * tip} l-6 ${6 * tip} z` }),
      dom.svg("circle", { class: "tip", cx: at, cy: from, r: 3.5 }),
    );
  }

  function tellTrial(note, trial, settings) {
    const received = `${format.count(trial.clones_received, "clone")} received, ${trial.clones_donated} given.`;
    dom.show(note, dom.el("p", {}, dom.el("strong", {}, trial.trial), `: ${trial.steps} steps, ${received} Settings at the end:`), pairs(["setting", "value"], settings));
  }

  function tellClone(note, run, clone) {
    const before = settingsAt(run, clone.donor, clone.step);
    const rows = Object.entries(clone.settings).map(([key, value]) => [key, before === null ? format.NONE : format.setting(before[key]), format.setting(value)]);
    const text = `Step ${clone.step}: ${clone.recipient} went on with a copy of ${clone.donor}'s policy and changed settings.`;
    dom.show(note, dom.el("p", {}, text), pairs(["setting", `of ${clone.donor}`, `of ${clone.recipient} from then on`], rows));
  }

  /** Settings that a trial had at a step; null where records do not tell, as it was cloned later. */
  function settingsAt(run, name, step) {
    const received = run.clones.filter((clone) => clone.recipient === name);
    const last = received.findLast((clone) => clone.step < step);
    if (last !== undefined) return last.settings;
    return received.length ? null : (run.trials.find((trial) => trial.trial === name)?.settings ?? null);
  }

  function pairs(heads, rows) {
    if (!rows.length) return dom.el("p", { class: "faint" }, "None that differ between trials.");
    const columns = heads.map((label, index) => ({ label, numeric: index > 0 }));
    return dom.scroller("Settings", dom.table("Settings", columns, rows));
  }

  return { part };
})();
