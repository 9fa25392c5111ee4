"use strict";
/* Answers sampled at held-out evaluations, prompt by prompt; whether each is correct is said in words. */
class Answers {
  constructor(run) {
    this.run = run;
    const trials = run.trials.map((trial) => trial.trial).sort(format.natural);
    this.select = dom.el("select", { name: "answers-trial", onchange: () => this.load() }, trials.map((value) => dom.el("option", { value }, value)));
    this.place = dom.el("div", {});
    this.note = dom.el("p", { class: "faint", role: "status" });
    this.node = dom.el("div", {}, dom.el("div", { class: "filters" }, dom.el("label", {}, "Trial ", this.select)), this.note, this.place);
    this.ready = this.load();
  }

  async load() {
    if (!this.run.counts.samples) {
      this.note.textContent = "No answers were recorded; runs record some at each held-out evaluation.";
      this.select.disabled = true;
      return;
    }
    this.select.disabled = false;
    const ticket = (this.ticket = {});
    try {
      const { samples } = await source.fetchJson(source.url(this.run.id, "samples", { trial: this.select.value }));
      if (ticket === this.ticket) this.show(samples);
    } catch (error) {
      this.note.textContent = error.message;
    }
  }

  show(samples) {
    const noted = source.report === null ? "" : (source.report.notes?.samples ?? "");
    this.note.textContent = samples.length ? `${format.count(samples.length, "prompt")}. ${noted}` : "No answers of this trial.";
    dom.show(this.place, samples.map((sample) => Answers.card(sample)));
  }

  static card(sample) {
    const right = sample.answers.filter((answer) => Answers.correct(answer)).length;
    const modes = new Set(sample.answers.filter((answer) => Answers.correct(answer)).map((answer) => answer.mode));
    const found = sample.modes === null ? "" : `, ${modes.size} of ${sample.modes} solutions found`;
    return dom.el(
      "details",
      { class: "sample", open: true },
      dom.el("summary", {}, dom.el("code", {}, sample.prompt), dom.el("span", { class: "faint" }, ` step ${sample.step}; ${right} of ${sample.answers.length} correct${found}`)),
      dom.el("ul", { class: "answer-list" }, sample.answers.map((answer) => Answers.line(answer))),
    );
  }

  static line(answer) {
    const correct = Answers.correct(answer);
    const verdict = dom.el("span", { class: `verdict ${correct ? "correct" : "wrong"}` }, correct ? "✓ correct" : "✕ wrong");
    const mode = answer.mode === null || answer.mode === answer.text.trim() ? null : dom.el("span", { class: "faint" }, `solution ${answer.mode}`);
    const reward = [0, 1].includes(answer.reward) ? null : dom.el("span", { class: "faint" }, `reward ${format.number(answer.reward)}`);
    return dom.el("li", {}, verdict, dom.el("code", {}, answer.text === "" ? "(empty)" : answer.text), mode, reward);
  }

  static correct(answer) {
    return answer.mode !== null;
  }
}
