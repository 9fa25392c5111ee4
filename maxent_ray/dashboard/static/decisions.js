"use strict";
/* Decisions of the controller, newest first: filtered by trial, reason and text, a page at a time. */
class Decisions {
  constructor(run) {
    this.run = run;
    this.offset = 0;
    this.trial = this.choice("Trial", "trial", Object.keys(run.reasons).sort(format.natural));
    this.reason = this.choice("Reason", "reason", this.reasons());
    this.text = dom.el("input", { type: "search", name: "text", placeholder: "event, alarm, step …", oninput: () => this.search() });
    this.found = dom.el("p", { class: "found", role: "status", "aria-live": "polite" });
    this.place = dom.el("div", {});
    this.pages = dom.el("div", { class: "pages" });
    const filters = dom.el("div", { class: "filters" }, this.trial.label, this.reason.label, dom.el("label", {}, "Text ", this.text));
    this.node = dom.el("div", {}, this.counts(), filters, this.found, this.place, this.pages);
    this.ready = this.load();
  }

  reasons() {
    return [...new Set(Object.values(this.run.reasons).flatMap(Object.keys))].sort();
  }

  /** How often each reason was given, over all trials. */
  counts() {
    const total = (reason) => Object.values(this.run.reasons).reduce((sum, counts) => sum + (counts[reason] ?? 0), 0);
    const texts = this.reasons().map((reason) => `${reason} ${total(reason).toLocaleString("en")}`);
    return dom.el("p", { class: "faint" }, texts.length ? `Reasons: ${texts.join(", ")}.` : "No decisions yet.");
  }

  choice(label, name, values) {
    const options = [dom.el("option", { value: "" }, "all"), ...values.map((value) => dom.el("option", { value }, value))];
    const select = dom.el("select", { name, onchange: () => this.restart() }, options);
    return { select, label: dom.el("label", {}, `${label} `, select) };
  }

  search() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.restart(), 250);
  }

  restart() {
    this.offset = 0;
    return this.load();
  }

  /** Show what came since, unless the reader is on an older page. */
  refresh(run) {
    this.run = run;
    return this.offset === 0 ? this.load() : undefined;
  }

  async load() {
    const filters = { trial: this.trial.select.value, reason: this.reason.select.value, text: this.text.value.trim() };
    const ticket = (this.ticket = {});
    try {
      const answer = await source.fetchJson(source.url(this.run.id, "decisions", { ...filters, offset: this.offset, limit: Decisions.PAGE, newest: 1 }));
      if (ticket === this.ticket) this.show(answer);
    } catch (error) {
      this.found.textContent = error.message;
    }
  }

  show({ total, decisions }) {
    const last = this.offset + decisions.length;
    const noted = source.report === null ? "" : (source.report.notes?.decisions ?? "");
    this.found.textContent = total ? `${(this.offset + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${format.count(total, "decision")}, newest first. ${noted}` : "No decision fits these filters.";
    const rows = decisions.map((each) => Decisions.cells(each));
    dom.show(this.place, total ? dom.scroller("Decisions", dom.table("Decisions of the controller", Decisions.COLUMNS, rows, { class: "decisions" })) : null);
    const step = (label, by, can) => dom.el("button", { type: "button", class: "small", disabled: !can, onclick: () => this.turn(by) }, label);
    dom.show(this.pages, step("Newer", -Decisions.PAGE, this.offset > 0), step("Older", Decisions.PAGE, last < total));
  }

  turn(by) {
    this.offset = Math.max(0, this.offset + by);
    return this.load();
  }

  static cells(each) {
    const against = (value, target) => `${format.number(value)} / ${format.number(target)}`;
    const alarms = (each.alarms ?? []).map((alarm) => (typeof alarm === "string" ? alarm : (alarm.message ?? alarm.kind)));
    const notes = [...(each.events ?? []).map(String), ...alarms.map((text) => `! ${text}`)];
    return [String(each.step ?? format.NONE), each.trial, each.reason, format.number(each.tau), format.number(each.beta), against(each.entropy, each.target_entropy), against(each.kl, each.target_kl), notes.join("; ")];
  }
}
Decisions.PAGE = 25;
Decisions.COLUMNS = [
  { label: "step", numeric: true },
  { label: "trial" },
  { label: "reason" },
  { label: "τ", numeric: true },
  { label: "β", numeric: true },
  { label: "H / H*", numeric: true },
  { label: "KL / KL*", numeric: true },
  { label: "events and alarms" },
];
