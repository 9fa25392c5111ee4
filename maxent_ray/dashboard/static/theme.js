"use strict";
/* Light or dark: the system's choice until the reader makes one. */
const theme = (() => {
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const listeners = new Set();
  let chosen = remembered();
  let forced = null;

  function remembered() {
    try {
      return window.localStorage.getItem("maxent-theme");
    } catch {
      return null; // storage is forbidden in some frames: the choice then lasts as long as the page
    }
  }

  function remember(name) {
    try {
      window.localStorage.setItem("maxent-theme", name);
    } catch {
      return; // as above
    }
  }

  function dark() {
    return forced === null ? (chosen === null ? system.matches : chosen === "dark") : forced === "dark";
  }

  function apply() {
    document.documentElement.dataset.theme = dark() ? "dark" : "light";
    document.getElementById("theme").textContent = dark() ? "Light theme" : "Dark theme";
    for (const listener of listeners) listener();
  }

  function choose(name) {
    chosen = name;
    remember(name);
    apply();
  }

  /** Use one theme whatever was chosen, as paper does; null for the choice. */
  function force(name) {
    forced = name;
    apply();
  }

  /** Value of a colour of the style sheet. */
  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  /** Colour of an objective, of the plots' palette; lighter on a dark ground so that it stands out there too. */
  function objective(hex, share = dark() ? 0.34 : 0) {
    const parts = [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
    return `rgb(${parts.map((part) => Math.round(part + (255 - part) * share)).join(" ")})`;
  }

  function start() {
    apply();
    system.addEventListener("change", apply);
    document.getElementById("theme").addEventListener("click", () => choose(dark() ? "light" : "dark"));
  }

  return { start, colour, objective, force, changed: listeners };
})();
