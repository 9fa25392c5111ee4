"use strict";
/* Numbers, times and names as a reader sees them. */
const format = (() => {
  const NONE = "–";

  /** Write a number with four significant digits. */
  function number(value, digits = 4) {
    if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
    const size = Math.abs(value);
    const small = size > 0 && size < 1e-3;
    const text = small || size >= 1e6 ? value.toExponential(2) : String(Number(value.toPrecision(digits)));
    return text.replaceAll("-", "−");
  }

  function percent(share) {
    const value = 100 * Math.abs(share);
    return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} %`;
  }

  function signedPercent(share) {
    const text = `${Number((100 * share).toPrecision(3))} %`;
    return share > 0 ? `+${text}` : text.replace("-", "−");
  }

  /** Distance of a value from its target, relative to the scale of errors; where none is known to the target, or 1 if that is not above 0. */
  function deviation(value, target, scale) {
    return (value - target) / (scale > 0 ? scale : target > 0 ? target : 1);
  }

  /** Write a setting as YAML would. */
  function setting(value) {
    if (value === null || value === undefined) return "null";
    if (typeof value === "number") return number(value);
    return typeof value === "string" ? value : JSON.stringify(value);
  }

  function clock(time) {
    return time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  }

  /** Write a time as hours and minutes, of another day with its date. */
  function moment(iso) {
    if (!iso) return NONE;
    const time = new Date(iso);
    const day = new Intl.DateTimeFormat("sv-SE").format(time);
    return day === new Intl.DateTimeFormat("sv-SE").format(new Date()) ? clock(time) : `${day} ${clock(time)}`;
  }

  /** Write a count with its noun. */
  function count(many, noun) {
    return `${many.toLocaleString("en")} ${noun}${many === 1 ? "" : "s"}`;
  }

  const STATES = {
    running: "●",
    stopped: "⊘",
    finished: "✓",
    failed: "✕",
    interrupted: "◧",
    unreadable: "?",
  };

  /** Show a state as a shape and a word. */
  function state(name) {
    const shape = dom.el("span", { "aria-hidden": "true", class: "shape" }, STATES[name] ?? "?");
    return dom.el("span", { class: `state ${name in STATES ? name : ""}` }, shape, name);
  }

  /** Compare names so that trial 10 follows trial 9. */
  const natural = new Intl.Collator("en", { numeric: true }).compare;

  return { NONE, number, percent, signedPercent, deviation, setting, clock, moment, count, state, natural };
})();
