"use strict";
/* What a chart says, in words and as a table, for those who cannot or would not see it. */
const chartText = (() => {
  const ROWS = 500;

  /** Sum a chart up in a sentence: where each objective ends, and how far from its target. */
  function summary(chart) {
    const { label } = chart.signal;
    const ends = chart.group.selection.objectives.map((objective) => ending(chart, objective)).filter(Boolean);
    if (!ends.length) return `No values of ${label} of the trials shown.`;
    const text = ends.length === 1 ? ` ${ends[0].text}` : `: ${ends.map((end) => `${end.name} ${end.text}`).join("; ")}`;
    const { zoom } = chart.group;
    return `${label} ${zoom.active ? `at step ${zoom.to}` : "ends at"}${text}.${chart.log && hasZeros(chart) ? " What is 0 has no place on a logarithmic axis." : ""}`;
  }

  function hasZeros(chart) {
    return [...chart.kept.values()].some((each) => chart.group.selection.shows(each.trial) && each.value.some((value) => value !== null && value <= 0));
  }

  function ending(chart, objective) {
    const shown = objective.trials.filter((trial) => chart.group.selection.shows(trial.trial));
    const ends = shown.map((trial) => end(chart, trial.trial)).filter((each) => each !== null);
    if (!ends.length) return null;
    const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const off = ends.map((each) => each.off).filter((value) => value !== null);
    const of = ends.length > 1 ? ` (mean of ${ends.length})` : "";
    return { name: objective.label, text: `${format.number(mean(ends.map((each) => each.value)), 3)}${of}${off.length ? `, ${distance(mean(off))}` : ""}` };
  }

  function end(chart, trial) {
    const last = chartData.lastOf(chart.kept?.get(chartData.key(trial, chart.signal.name)));
    if (last === null) return null;
    const at = (name) => (name === null ? null : chartData.valueAt(chart.kept.get(chartData.key(trial, name)), last.step));
    const target = at(chart.signal.target);
    return { value: last.value, off: Number.isFinite(target) ? format.deviation(last.value, target, at(chart.signal.error_scale)) : null };
  }

  function distance(off) {
    if (Math.abs(off) < 5e-4) return "on target";
    return `${format.percent(off)} ${off > 0 ? "above" : "below"} target`;
  }

  /** A table of the values drawn, made when it is asked for. */
  function dataPart(chart) {
    const place = dom.el("div", {});
    const fill = (event) => event.target.open && dom.show(place, ...table(chart));
    return dom.el("details", { class: "data", ontoggle: fill }, dom.el("summary", {}, "Values as a table"), place);
  }

  function table(chart) {
    if (chart.kept === null) return [dom.el("p", {}, "Not loaded yet.")];
    const [from, to] = chart.group.stepRange();
    const shown = chart.group.selection.visible();
    const columns = shown.flatMap((trial) => chart.signals.map((signal) => ({ trial: trial.trial, signal })));
    const own = columns.map((each) => chart.kept.get(chartData.key(each.trial, each.signal)));
    const steps = [...new Set(own.flatMap((each) => each?.step ?? []))].filter((step) => step >= from && step <= to).sort((a, b) => a - b);
    const maps = own.map((each) => new Map((each?.step ?? []).map((step, at) => [step, each.value[at]])));
    const clones = new Map(chart.group.run.clones.map((clone) => [JSON.stringify([clone.recipient, clone.step]), clone.donor]));
    const cell = (column, map, step) => {
      const donor = column.signal === chart.signal.name ? clones.get(JSON.stringify([column.trial, step])) : undefined;
      return `${map.has(step) ? format.number(map.get(step), 5) : ""}${donor === undefined ? "" : ` (then a clone of ${donor})`}`;
    };
    const rows = steps.slice(0, ROWS).map((step) => [String(step), ...columns.map((column, at) => cell(column, maps[at], step))]);
    const heads = columns.map((each) => ({ label: `${each.trial} ${chart.group.label(each.signal)}`, numeric: true }));
    const parts = [dom.scroller(`Values of ${chart.signal.label}`, dom.table(`Values of ${chart.signal.label} by step`, [{ label: "step", numeric: true }, ...heads], rows))];
    if (steps.length > ROWS) parts.unshift(dom.el("p", {}, `The first ${ROWS} of ${steps.length} steps; zoom in for others.`));
    return parts;
  }

  return { summary, dataPart };
})();
