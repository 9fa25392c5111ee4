"use strict";
/* Where answers come from: the server, with its events; or the report that this page is. */
const source = (() => {
  const root = document.currentScript.src ? new URL("../", document.currentScript.src) : null;
  const report = reportAnswers.data;
  let last = new Date();

  /** Fetch one answer; an Error carries the server's own sentence. */
  async function fetchJson(url) {
    if (report !== null) return reportAnswers.answer(url);
    let response;
    try {
      response = await fetch(new URL(url, root), { credentials: "same-origin" });
    } catch {
      throw new Error("The server does not answer; start it again with maxent-ray dashboard.");
    }
    const answer = await response.json().catch(() => ({ error: `The server answered ${response.status} without a reason.` }));
    if (!response.ok) throw Object.assign(new Error(answer.error), { status: response.status });
    last = new Date();
    return answer;
  }

  /** URL of a run's answer; parameters whose value is empty are left out, lists are repeated. */
  function url(id, part = "", parameters = {}) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(parameters)) {
      for (const each of [value].flat()) if (each !== "" && each !== null && each !== undefined) query.append(name, each);
    }
    const path = `api/runs/${encodeURIComponent(id)}${part && `/${part}`}`;
    return query.size ? `${path}?${query}` : path;
  }

  /** Follow events, of one run or of all; returns the function that stops. */
  function follow(id, handlers) {
    if (report !== null) {
      say("", `Report of ${format.moment(report.written)}`);
      return () => {};
    }
    const query = id === null ? "" : `?run=${encodeURIComponent(id)}`;
    const events = new EventSource(new URL(`api/events${query}`, root));
    events.addEventListener("open", () => say("live", "Live"));
    events.addEventListener("error", () => lost(events));
    for (const [name, handler] of Object.entries(handlers)) {
      events.addEventListener(name, (event) => {
        last = new Date();
        handler(JSON.parse(event.data));
      });
    }
    return () => events.close();
  }

  /** Say that the server is gone; the browser tries again by itself, except after an answer that is no stream. */
  function lost(events) {
    const again = events.readyState === EventSource.CLOSED ? "reload the page to try again" : "trying again";
    say("lost", `Not connected, last data of ${format.clock(last)}; ${again}`);
  }

  function say(kind, text) {
    const line = document.getElementById("connection");
    line.className = `connection ${kind}`;
    if (line.textContent !== text) line.textContent = text;
  }

  return { fetchJson, url, follow, report };
})();
