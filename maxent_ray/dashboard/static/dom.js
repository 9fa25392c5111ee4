"use strict";
/* Builders of elements. What comes from results becomes text nodes and attribute values, never markup. */
const dom = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : String(value));
    }
    node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  }

  /** Make an HTML element; attributes whose value is null or false are left out, on… are listeners. */
  function el(tag, attributes, ...children) {
    return fill(document.createElement(tag), attributes, children);
  }

  /** Make an SVG element. */
  function svg(tag, attributes, ...children) {
    return fill(document.createElementNS(SVG, tag), attributes, children);
  }

  /** Replace all children of a node. */
  function show(node, ...children) {
    node.replaceChildren(...children.flat(2).filter(Boolean));
    return node;
  }

  /** Make a table: columns are {label, numeric}, rows are lists of texts or nodes. */
  function table(caption, columns, rows, attributes) {
    const kind = (index) => (columns[index].numeric ? "number" : null);
    return el(
      "table",
      attributes,
      el("caption", { class: "unseen" }, caption),
      el("thead", {}, el("tr", {}, columns.map((each, i) => el("th", { scope: "col", class: kind(i) }, each.label)))),
      el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell, i) => line(cell, i, kind(i)))))),
    );
  }

  function line(cell, index, kind) {
    return index === 0 ? el("th", { scope: "row", class: kind }, cell) : el("td", { class: kind }, cell);
  }

  /** Let a wide table scroll by itself, by keyboard too, instead of the page. */
  function scroller(label, ...children) {
    return el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": `${label}, table` }, children);
  }

  /** Give a node the colour of its objective; the style sheet makes it lighter on a dark ground. */
  function own(node, colour) {
    node.style.setProperty("--own", colour);
    node.classList.add("own");
    return node;
  }

  /** Make a short line in a colour, to stand before a name. */
  function swatch(colour, dash) {
    const stroke = { x1: 1, x2: 25, y1: 5, y2: 5, "stroke-width": 2.5, "stroke-dasharray": (dash ?? []).join(" ") || null };
    const drawn = own(svg("line", stroke), colour);
    return svg("svg", { class: "swatch", viewBox: "0 0 26 10", width: 26, height: 10, "aria-hidden": "true" }, drawn);
  }

  return { el, svg, show, table, scroller, own, swatch };
})();
