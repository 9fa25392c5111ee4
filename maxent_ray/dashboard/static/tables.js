"use strict";
/* The comparison, the alarms and the settings. */
const tables = (() => {
  function comparison(run) {
    const { columns, rows } = run.comparison;
    if (!rows.length) return [dom.el("p", {}, "Nothing to compare yet.")];
    const cells = rows.map((row) => columns.map((column) => estimate(row[column.key]?.text ?? "")));
    return [dom.scroller("Comparison", dom.table("Comparison of the objectives", columns, cells, { class: "comparison" })), points(run)];
  }

  /** Every point of a sweep. */
  function points(run) {
    const { columns, rows } = run.points;
    if (!rows.length) return null;
    const cells = rows.map((row) => columns.map((column) => row[column.key].text));
    const note = dom.el("p", { class: "faint" }, "•: on the Pareto front of mean and coverage; at N: stopped early at step N");
    return [dom.el("h3", {}, "Every point"), note, dom.scroller("Every point", dom.table("Every point of the sweep", columns, cells))];
  }

  /** Set an interval under its value, as the terminal does. */
  function estimate(text) {
    const [value, interval] = text.split(/ (?=\[)/);
    return interval === undefined ? text : [value, dom.el("span", { class: "interval" }, interval)];
  }

  function alarms(run) {
    if (!run.alarms.length) return [dom.el("p", {}, "No alarms.")];
    const columns = [{ label: "step", numeric: true }, { label: "trial" }, { label: "coefficient" }, { label: "alarm" }, { label: "what it says" }];
    const newest = run.alarms.toSorted((a, b) => b.step - a.step);
    const rows = newest.slice(0, 200).map((each) => [String(each.step), each.trial, each.coefficient, each.kind, each.message]);
    const more = newest.length > rows.length ? dom.el("p", {}, `The newest ${rows.length} of ${newest.length}; the others are among the decisions.`) : null;
    return [dom.scroller("Alarms", dom.table("Alarms of the controller", columns, rows, { class: "alarms" })), more];
  }

  function settings(run) {
    const place = dom.el("div", {});
    const find = dom.el("input", { type: "search", name: "setting", placeholder: "target_kl …", oninput: () => fill() });
    const found = dom.el("span", { class: "faint", role: "status", "aria-live": "polite" });
    const all = Object.entries(run.settings).map(([key, value]) => [key, format.setting(value)]);
    const fill = () => {
      const text = find.value.trim().toLowerCase();
      const rows = all.filter((row) => row.join(" ").toLowerCase().includes(text));
      found.textContent = `${rows.length} of ${all.length}`;
      dom.show(place, dom.scroller("Settings of the run", dom.table("Settings of the run", [{ label: "setting" }, { label: "value" }], rows, { class: "settings" })));
    };
    fill();
    return [dom.el("div", { class: "filters" }, dom.el("label", {}, "Find ", find), found), place, perTrial(run)];
  }

  /** Settings of the trials, which differ from the run's own. */
  function perTrial(run) {
    const keys = [...new Set(run.trials.flatMap((trial) => Object.keys(trial.settings ?? {})))].sort();
    if (!keys.length) return null;
    const rows = run.trials.toSorted((a, b) => format.natural(a.trial, b.trial)).map((trial) => [trial.trial, ...keys.map((key) => (key in trial.settings ? format.setting(trial.settings[key]) : ""))]);
    const columns = [{ label: "trial" }, ...keys.map((key) => ({ label: key, numeric: true }))];
    return [dom.el("h3", {}, "Of each trial, at its end"), dom.scroller("Settings of the trials", dom.table("Settings of the trials", columns, rows))];
  }

  return { comparison, alarms, settings };
})();
