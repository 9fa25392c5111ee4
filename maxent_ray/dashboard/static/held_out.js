"use strict";
/* Held-out metrics of each trial: a dot with its 95 % interval, one panel for each metric. */
const heldOut = (() => {
  const [ROW, HEAD, WIDTH, NAMES, MARGIN] = [18, 4, 460, 140, 16];

  function part(run, selection) {
    if (!run.held_out.length) return [dom.el("p", {}, "No held-out metrics yet; they are measured when a trial ends.")];
    const order = new Map(selection.trials.map((trial, index) => [trial.trial, index]));
    const lines = run.held_out.toSorted((a, b) => (order.get(a.trial) ?? 1e9) - (order.get(b.trial) ?? 1e9));
    const colours = new Map(run.objectives.map((objective) => [objective.name, objective.colour]));
    const panels = run.metrics.map((metric) => panel(metric, lines, colours, selection));
    return [dom.el("div", { class: "panels" }, panels), values(run, lines)];
  }

  function panel(metric, lines, colours, selection) {
    const known = lines.map((line) => line.metrics[metric.name]).filter((each) => each && each.value !== null);
    const [low, high] = axes.padded(Math.min(...known.map((each) => each.low ?? each.value)), Math.max(...known.map((each) => each.high ?? each.value)), false);
    const x = (value) => NAMES + MARGIN + ((value - low) / (high - low)) * (WIDTH - NAMES - 2 * MARGIN);
    const height = HEAD + ROW * lines.length;
    const ticks = axes.linearTicks(low, high, 4);
    const drawn = dom.svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${height + 18}`, role: "img", "aria-label": sentence(metric, lines) },
      ticks.map((tick) => dom.svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: 0, y2: height })),
      ticks.map((tick) => dom.svg("text", { x: x(tick), y: height + 14, "text-anchor": "middle" }, format.number(tick, 3))),
      lines.map((line, index) => dom.svg("text", { class: "name", x: 0, y: HEAD + ROW * (index + 0.5) + 4 }, shortened(selection.title(line.trial)))),
      lines.map((line, index) => dot(line, metric, x, HEAD + ROW * (index + 0.5), colours)),
    );
    return dom.el("figure", {}, dom.el("figcaption", {}, metric.label), drawn);
  }

  function shortened(name) {
    return name.length > 23 ? `${name.slice(0, 22)}…` : name;
  }

  function dot(line, metric, x, y, colours) {
    const each = line.metrics[metric.name];
    if (!each || each.value === null) return null;
    const text = `${line.trial}: ${written(each)}`;
    const whisker = each.low === null || each.high === null ? null : dom.svg("line", { class: "own-stroke", x1: x(each.low), x2: x(each.high), y1: y, y2: y, "stroke-width": 2 });
    const mark = dom.svg("circle", { class: "own-fill", cx: x(each.value), cy: y, r: 4.5 });
    return dom.own(dom.svg("g", {}, dom.svg("title", {}, text), whisker, mark), colours.get(line.objective) ?? "#56B4E9");
  }

  function written(each) {
    if (!each || each.value === null) return format.NONE;
    const interval = each.low === null || each.high === null ? "" : ` [${each.low.toFixed(3)}, ${each.high.toFixed(3)}]`;
    return `${each.value.toFixed(3)}${interval}`;
  }

  function sentence(metric, lines) {
    const known = lines.filter((line) => line.metrics[metric.name]?.value !== null).toSorted((a, b) => b.metrics[metric.name].value - a.metrics[metric.name].value);
    if (!known.length) return `${metric.label}: no values`;
    const [first, last] = [known[0], known.at(-1)];
    return `${metric.label}: highest ${first.trial} with ${written(first.metrics[metric.name])}, lowest ${last.trial} with ${written(last.metrics[metric.name])}`;
  }

  function values(run, lines) {
    const columns = [{ label: "trial" }, ...run.metrics.map((metric) => ({ label: metric.label, numeric: true }))];
    const rows = lines.map((line) => [line.trial, ...run.metrics.map((metric) => written(line.metrics[metric.name]))]);
    const table = dom.scroller("Held-out metrics", dom.table("Held-out metrics with 95 % intervals", columns, rows));
    return dom.el("details", { class: "data" }, dom.el("summary", {}, "Values as a table"), table);
  }

  return { part };
})();
