"use strict";
/* Series of many trials, each with steps of its own, in the columns over common steps that uPlot takes. */
const chartData = (() => {
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
   * its value is not known, so that it is interrupted.
   */
  function columns(kept, keys, log) {
    const chosen = keys.map((each) => kept.get(each));
    const steps = [...new Set(chosen.flatMap((each) => each?.step ?? []))].sort((a, b) => a - b);
    const places = new Map(steps.map((step, place) => [step, place]));
    return [steps, ...chosen.map((each) => column(each, places, steps.length, log))];
  }

  function column(each, places, length, log) {
    const values = new Array(length).fill(undefined);
    for (const [at, step] of (each?.step ?? []).entries()) {
      const value = each.value[at];
      values[places.get(step)] = value === null || (log && value <= 0) ? null : value;
    }
    return values;
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

  return { key, index, append, columns, valueAt, lastOf };
})();
