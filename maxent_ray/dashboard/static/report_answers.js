"use strict";
/* Answers of a report: the server's, kept in the file itself. Ranges and filters are applied here. */
const reportAnswers = (() => {
  const element = document.getElementById("maxent-data");
  const data = element === null ? null : JSON.parse(element.textContent);

  /** Answer a URL as the server would; an Error for what the report does not hold. */
  function answer(url) {
    if (url in data.responses) return data.responses[url];
    const [path, query] = url.split("?");
    const kept = Object.keys(data.responses).find((key) => key.split("?")[0] === path);
    const narrow = { series, decisions, samples }[path.split("/").pop()];
    if (kept === undefined || narrow === undefined) throw new Error("This report does not hold that; ask its author for the results folder.");
    return narrow(data.responses[kept], new URLSearchParams(query));
  }

  function series(all, query) {
    const [from, to] = [Number(query.get("from") ?? 0), Number(query.get("to") ?? Infinity)];
    const named = (key, value) => !query.has(key) || query.getAll(key).includes(value);
    const some = all.series.filter((each) => named("signal", each.signal) && named("trial", each.trial));
    return { series: some.map((each) => cut(each, from, to)) };
  }

  function cut(each, from, to) {
    const inside = (_, index) => each.step[index] >= from && each.step[index] <= to;
    return { ...each, step: each.step.filter(inside), value: each.value.filter(inside) };
  }

  function decisions(all, query) {
    const text = (query.get("text") ?? "").toLowerCase();
    const named = (key, value) => !query.get(key) || query.get(key) === value;
    const found = all.decisions.filter(
      (each) => named("trial", each.trial) && named("reason", each.reason) && JSON.stringify(each).toLowerCase().includes(text),
    );
    const sorted = query.get("newest") === "1" ? found : found.toReversed();
    const offset = Number(query.get("offset") ?? 0);
    return { total: found.length, decisions: sorted.slice(offset, offset + Number(query.get("limit") ?? 100)) };
  }

  function samples(all, query) {
    return { samples: all.samples.filter((each) => !query.get("trial") || each.trial === query.get("trial")) };
  }

  return { data, answer };
})();
