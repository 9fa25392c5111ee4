"use strict";
/* Legend: shows and hides trials and objectives, and has their values at the cursor. */
const legend = (() => {
  /** Make the legend of a group of charts. */
  function make(group) {
    const { selection } = group;
    const values = new Map();
    const place = dom.el("div", { class: "legend-lists" });
    const title = dom.el("p", { class: "at", "aria-hidden": "true" }, " ");
    const all = (shown) => () => selection.set(selection.trials.map((trial) => trial.trial), shown);
    const means = box("Means of objectives", selection.means, (on) => selection.average(on));
    means.label.classList.add("means");
    const wide = window.matchMedia("(min-width: 901px)").matches;
    const node = dom.el(
      "details",
      { class: "legend", open: wide },
      dom.el("summary", {}, dom.el("h2", {}, "Trials shown")),
      dom.el(
        "div",
        { class: "legend-buttons" },
        dom.el("button", { type: "button", class: "small", onclick: all(true) }, "All"),
        dom.el("button", { type: "button", class: "small", onclick: all(false) }, "None"),
        dom.el("button", { type: "button", class: "small", onclick: () => best(selection) }, "Best of each"),
      ),
      means.label,
      title,
      place,
    );
    const fill = () => dom.show(place, selection.objectives.map((objective) => section(selection, objective, values)));
    fill();
    selection.changed.add((what) => (what === "focus" ? mark(place, selection) : refresh(place, selection)));
    group.cursor.add((chart, step) => tell(chart, step, title, values));
    return { node, fill };
  }

  function best(selection) {
    const rank = (trial) => (trial.state === "stopped" ? -Infinity : (trial.score ?? -Infinity));
    const first = (trials) => trials.toSorted((a, b) => rank(b) - rank(a))[0]?.trial;
    const chosen = new Set(selection.objectives.map((objective) => first(objective.trials)));
    selection.hidden = new Set(selection.trials.map((trial) => trial.trial).filter((name) => !chosen.has(name)));
    selection.tell("shown");
  }

  function section(selection, objective, values) {
    const names = objective.trials.map((trial) => trial.trial);
    if (!names.length) return null;
    const head = box(objective.label, names.every((name) => selection.shows(name)), (shown) => selection.set(names, shown));
    head.input.indeterminate = !names.every((name) => selection.shows(name)) && names.some((name) => selection.shows(name));
    head.input.dataset.objective = objective.name;
    if (names.length === 1) return entry(selection, objective.trials[0], values, selection.title(names[0]));
    return dom.el("fieldset", {}, dom.el("legend", {}, head.label), objective.trials.map((trial) => entry(selection, trial, values, trial.trial)));
  }

  function entry(selection, trial, values, name) {
    const value = dom.el("span", { class: "value" });
    values.set(trial.trial, value);
    const line = box(name, selection.shows(trial.trial), (shown) => selection.set([trial.trial], shown), dom.swatch(trial.colour, selection.trials.length <= Selection.FEW ? trial.dash : []));
    line.input.dataset.trial = trial.trial;
    const settings = Object.entries(trial.settings ?? {}).map(([key, each]) => `${key}: ${format.setting(each)}`);
    const note = ["failed", "stopped"].includes(trial.state) ? format.state(trial.state) : null;
    line.label.title = [`${trial.trial}, ${trial.state}, ${format.count(trial.steps, "step")}`, ...settings].join("\n");
    line.label.addEventListener("pointerenter", () => selection.emphasise(trial.trial));
    line.label.addEventListener("pointerleave", () => selection.emphasise(null));
    line.input.addEventListener("focus", () => selection.emphasise(trial.trial));
    line.input.addEventListener("blur", () => selection.emphasise(null));
    return dom.el("div", { class: "entry", "data-trial": trial.trial }, line.label, note, value);
  }

  function box(name, checked, change, mark) {
    const input = dom.el("input", { type: "checkbox", onchange: (event) => change(event.target.checked) });
    input.checked = checked;
    return { input, label: dom.el("label", {}, input, mark, dom.el("span", { class: "name" }, name)) };
  }

  function refresh(place, selection) {
    for (const input of place.querySelectorAll("input[data-trial]")) input.checked = selection.shows(input.dataset.trial);
    for (const input of place.querySelectorAll("input[data-objective]")) {
      const shown = selection.trials.filter((trial) => trial.objective === input.dataset.objective).map((trial) => selection.shows(trial.trial));
      input.checked = shown.every(Boolean);
      input.indeterminate = !input.checked && shown.some(Boolean);
    }
  }

  function mark(place, selection) {
    for (const line of place.querySelectorAll(".entry")) line.classList.toggle("focus", line.dataset.trial === selection.focus);
  }

  function tell(chart, step, title, values) {
    if (!chart.place.matches(":hover, :focus")) return;
    title.textContent = step === null ? " " : `${chart.signal.label} at step ${step}`;
    for (const [trial, place] of values) place.textContent = step === null || chart.kept === null ? "" : format.number(chart.at(trial, step)[0]);
  }

  return { make };
})();
