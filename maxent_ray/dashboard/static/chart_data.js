"use strict";
/* Series of many trials, each with steps of its own, in the columns over common steps that uPlot takes. */
const chartData = (() => {
  const PLACES = 1200;
  /** Key of a series. */
  function key(trial, signal) {
    return JSON.stringify([trial, signal]);
  }

  /** Index the series of an answer. */
  function index(answer) {
    return new Map(answer.series.map((each) => [key(each.trial, each.signal), each]));
  }

  /** Append the points of a later answer; returns false where one goes back, so that all must be fetched anew. */
  function append(kept, answer) {
    for (const each of answer.series) {
      const own = kept.get(key(each.trial, each.signal));
      if (own === undefined) return false;
      const last = own.step.at(-1) ?? -1;
      const first = each.step.findIndex((step) => step > last);
      if (first < 0) continue;
      own.step.push(...each.step.slice(first));
      own.value.push(...each.value.slice(first));
    }
    return true;
  }

  /**
   * Columns over all steps that occur: undefined where a series has no point, so that its line goes on; null where
   * its value is not known, so that it is interrupted. Steps that lie closer than can be seen share a place.
   */
  function columns(kept, keys, log) {
    const chosen = keys.map((each) => kept.get(each));
    const found = new Set();
    for (const each of chosen) for (const step of each?.step ?? []) found.add(step);
    const steps = Float64Array.from(found).sort();
    const { common, placeOf } = places(Array.from(steps));
    return [common, ...chosen.map((each) => column(each, placeOf, common.length, log))];
  }

  function places(steps) {
    if (steps.length <= PLACES) {
      const all = new Map(steps.map((step, place) => [step, place]));
      return { common: steps, placeOf: (step) => all.get(step) };
    }
    const [first, last] = [steps[0], steps.at(-1)];
    const width = (last - first) / (PLACES - 1);
    const common = Array.from({ length: PLACES }, (_, place) => Math.round(first + place * width));
    return { common, placeOf: (step) => Math.round((step - first) / width) };
  }

  function column(each, placeOf, length, log) {
    const values = new Array(length).fill(undefined);
    for (const [at, step] of (each?.step ?? []).entries()) {
      const value = each.value[at];
      const place = placeOf(step);
      const free = values[place] === undefined || place + 1 === length ? place : place + 1; // keeps both extremes of a bucket
      values[free] = value === null || (log && value <= 0) ? null : value;
    }
    return values;
  }

  /** Values of a column with the last known one where it has no point, from its first to its last. */
  function carried(values) {
    const last = values.findLastIndex((value) => value !== undefined);
    let known;
    return values.map((value, index) => (index > last ? undefined : (known = value === undefined ? known : value)));
  }

  /** Replace values by their distance from their targets, relative to the scales of their errors, and targets by 0. */
  function relate(data, trials, scales) {
    for (let at = 1; at <= trials; at += 1) {
      const targets = carried(data[at + trials]);
      const scale = carried(scales[at - 1] ?? []);
      data[at] = data[at].map((value, index) => (value === undefined ? undefined : value === null || !Number.isFinite(targets[index]) ? null : format.deviation(value, targets[index], scale[index])));
      data[at + trials] = data[at + trials].map((value) => (Number.isFinite(value) ? 0 : value));
    }
  }

  /** Mean of columns, at each step of those that have reached it. */
  function mean(members) {
    const filled = members.map(carried);
    return Array.from(members[0] ?? [], (_, index) => {
      let [sum, count] = [0, 0];
      for (const values of filled) {
        const value = values[index];
        if (value === undefined || value === null) continue;
        sum += value;
        count += 1;
      }
      return count ? sum / count : undefined;
    });
  }

  /** Value of a series at a step, or at the last one before it. */
  function valueAt(each, step) {
    const at = each?.step.findLastIndex((own) => own <= step) ?? -1;
    return at < 0 ? null : each.value[at];
  }

  /** Last known value of a series, with its step; null for none. */
  function lastOf(each) {
    const at = each?.value.findLastIndex((value) => value !== null) ?? -1;
    return at < 0 ? null : { step: each.step[at], value: each.value[at] };
  }

  return { key, index, append, columns, relate, mean, valueAt, lastOf };
})();
