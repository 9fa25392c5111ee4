"use strict";
/* Ranges and ticks of the charts' axes. */
const axes = (() => {
  /** Widen a range a little, and a range of one value enough to see it in the middle. */
  function padded(low, high, log) {
    if (low === null || high === null || low === undefined || !Number.isFinite(low)) return log ? [0.1, 1] : [0, 1];
    if (log) {
      const margin = Math.max(1.06, (high / low) ** 0.06);
      return [low / margin, high * margin];
    }
    const margin = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return [low - margin, high + margin];
  }

  /** Ticks 1, 2, 5, 10 …; where fewer than three of them are in range, evenly spaced ones. */
  function logTicks(low, high) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      const steps = high / low > 1e4 ? [1] : high / low > 100 ? [1, 3] : [1, 2, 5];
      for (const step of steps) ticks.push(Number(`${step}e${power}`));
    }
    const inside = ticks.filter((tick) => tick >= low && tick <= high);
    return inside.length >= 3 ? inside : linearTicks(low, high, 4);
  }

  function linearTicks(low, high, many, steps = [1, 2, 2.5, 5, 10]) {
    const rough = (high - low) / many;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = steps.map((each) => each * power).find((each) => each >= rough) ?? rough;
    const ticks = [];
    // Multiples, not sums, of the step: a sum misses 0 by a rounding error, and that is written as 1.39e−17.
    for (let count = Math.ceil(low / step); count * step <= high + step / 1e6; count += 1) ticks.push(Number((count * step).toPrecision(12)));
    return ticks;
  }

  /** Ticks of whole steps. */
  function stepTicks(low, high, many) {
    return linearTicks(low, high, many, [1, 2, 5, 10]).filter(Number.isInteger);
  }

  return { padded, logTicks, linearTicks, stepTicks };
})();
