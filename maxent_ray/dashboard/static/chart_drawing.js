"use strict";
/* How a chart is drawn: axes, lines, diamonds of clones; and what the pointer does. */
const chartDrawing = (() => {
  /** Options of uPlot. */
  function options(chart) {
    const { group } = chart;
    return {
      ...chart.size(),
      padding: [10, 18, 0, 0],
      legend: { show: false },
      focus: { alpha: 1 }, // lines that do not stand out are made fainter by their own colours
      cursor: {
        sync: { key: group.zoom.key, setSeries: false, filters: { pub: (kind) => kind === "mousemove" || kind === "mouseleave" } },
        drag: { x: true, y: false, setScale: false, dist: 5 },
        focus: { prox: 18 },
        y: false,
        points: { size: 7, width: 1.5 },
        dataIdx: nearest,
        bind: { dblclick: () => () => group.zoom.reset() },
      },
      scales: {
        x: { time: false, range: () => group.stepRange() },
        y: { distr: chart.log ? 3 : 1, range: () => chart.valueRange() },
      },
      axes: [stepAxis(), valueAxis(chart)],
      series: [
        {},
        ...chart.signals.flatMap((name) => chart.trials.map((trial) => line(chart, trial, name === chart.signal.target))),
        ...chart.averaged.map((objective) => average(objective)),
      ],
      hooks: {
        setCursor: [(plot) => group.tellCursor(chart, plot.data[0][plot.cursor.idx] ?? null)],
        setSelect: [(plot) => select(chart, plot)],
        setSeries: [(_, index, change) => "focus" in change && group.selection.emphasise(trialOf(chart, index))],
        draw: [(plot) => clones(chart, plot)],
      },
    };
  }

  /** Trial that a line belongs to; null for the mean of an objective. */
  function trialOf(chart, index) {
    return index && index <= chart.trials.length * chart.signals.length ? chart.trials[(index - 1) % chart.trials.length].trial : null;
  }

  function line(chart, trial, target) {
    const few = chart.trials.length <= Selection.FEW; // dashes of many lines could not be seen, and take long to draw
    return {
      show: chart.group.selection.shows(trial.trial),
      stroke: () => stroke(chart, trial),
      width: target || !few ? 1 : 1.75,
      dash: !few ? [] : target ? [1.5, 3] : trial.dash,
      points: { show: (plot) => !target && plot.data[0].length === 1 },
    };
  }

  function average(objective) {
    return { stroke: () => theme.objective(objective.colour), width: 3, points: { show: false } };
  }

  /** Colour of a trial's line: later trials of an objective, and all that something else stands out from, are fainter. */
  function stroke(chart, trial) {
    const { focus, means } = chart.group.selection;
    const own = Math.max(0.4, 1 - 0.2 * Math.floor(trial.index / Selection.DASHES.length));
    const averaged = means && chart.averaged.some((objective) => objective.name === trial.objective);
    const alpha = focus === trial.trial ? 1 : focus !== null || averaged ? 0.2 : own;
    return theme.objective(trial.colour).replace(")", ` / ${alpha})`);
  }

  function axis(scale, own) {
    return {
      scale,
      stroke: theme.colour("muted"),
      font: "11px system-ui, sans-serif",
      gap: 4,
      grid: { stroke: theme.colour("line"), width: 1 },
      ticks: { show: false },
      filter: (_, splits) => splits,
      ...own,
    };
  }

  function stepAxis() {
    return axis("x", {
      size: 20,
      splits: (plot, _, low, high) => axes.stepTicks(low, high, plot.width > 500 ? 8 : 5),
      values: (_, splits) => splits.map((value) => value.toLocaleString("en")),
    });
  }

  function valueAxis(chart) {
    const written = (value) => (chart.relative ? format.signedPercent(value) : format.number(value));
    return axis("y", {
      size: 54,
      splits: (_, __, low, high) => (chart.log ? axes.logTicks(low, high) : axes.linearTicks(low, high, 5)),
      values: (_, splits) => splits.map(written),
    });
  }

  /** Index of a line's own point that is nearest to the cursor. */
  function nearest(plot, series, index) {
    const values = plot.data[series];
    for (let away = 0; away < values.length; away += 1) {
      if (values[index - away] !== undefined) return index - away;
      if (values[index + away] !== undefined) return index + away;
    }
    return index;
  }

  function select(chart, plot) {
    const { left, width } = plot.select;
    if (width < 5) return;
    const [from, to] = [left, left + width].map((at) => plot.posToVal(at, "x"));
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    chart.group.zoom.set(Math.floor(from), Math.ceil(to));
  }

  function clones(chart, plot) {
    const [from, to] = chart.group.stepRange();
    for (const clone of chart.group.run.clones) {
      const place = chart.trials.findIndex((each) => each.trial === clone.recipient);
      if (place < 0 || !chart.group.selection.shows(clone.recipient) || clone.step < from || clone.step > to) continue;
      const index = plot.data[0].findLastIndex((step) => step <= clone.step);
      const value = plot.data[place + 1][nearest(plot, place + 1, index)];
      if (index < 0 || value === null || value === undefined) continue;
      diamond(plot.ctx, plot.valToPos(clone.step, "x", true), plot.valToPos(value, "y", true), stroke(chart, chart.trials[place]));
    }
  }

  function diamond(context, x, y, colour) {
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

  return { options };
})();
