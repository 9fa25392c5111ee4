"use strict";
/* Trials of a run: how each is drawn, which are shown and which one stands out. */
class Selection {
  /** @param run the answer of api/runs/ID; @param only names of the trials to show, null for all. */
  constructor(run, only) {
    this.hidden = new Set();
    this.focus = null;
    this.means = run.trials.length > Selection.FEW; // of many lines only the means can be told apart
    this.changed = new Set();
    this.update(run);
    if (only !== null) for (const trial of run.trials) if (!only.includes(trial.trial)) this.hidden.add(trial.trial);
  }

  /** Take the trials of a newer answer. */
  update(run) {
    const order = new Map(run.objectives.map((objective, index) => [objective.name, { ...objective, index }]));
    const place = (trial) => order.get(trial.objective)?.index ?? order.size;
    const sorted = run.trials.toSorted((a, b) => place(a) - place(b) || format.natural(a.trial, b.trial));
    const members = new Map();
    this.trials = sorted.map((trial) => {
      const index = members.get(trial.objective) ?? 0;
      members.set(trial.objective, index + 1);
      const { colour, label } = order.get(trial.objective) ?? { colour: "#56B4E9", label: trial.objective };
      return { ...trial, colour, label, dash: Selection.DASHES[index % 5], index };
    });
    this.objectives = run.objectives.map((each) => ({ ...each, trials: this.trials.filter((t) => t.objective === each.name) }));
  }

  /** Name of a trial in drawings; a reference, which is an objective of one trial, has its objective's label. */
  title(name) {
    const trial = this.trials.find((each) => each.trial === name);
    return trial !== undefined && trial.objective === name ? trial.label : name;
  }

  shows(trial) {
    return !this.hidden.has(trial);
  }

  /** Whether an event tells fewer steps of a trial than a run's answer: it was trained anew from an earlier step. */
  static wentBack(run, steps) {
    return (run.trials ?? []).some((trial) => steps[trial.trial] < trial.steps);
  }

  visible() {
    return this.trials.filter((trial) => this.shows(trial.trial));
  }

  /** Show or hide some trials. */
  set(names, shown) {
    for (const name of names) if (shown) this.hidden.delete(name); else this.hidden.add(name);
    this.tell("shown");
  }

  /** Let one trial stand out; null for none. */
  emphasise(trial) {
    if (this.focus === trial) return;
    this.focus = trial;
    this.tell("focus");
  }

  /** Let the means of objectives stand out, or not. */
  average(means) {
    this.means = means;
    this.tell("means");
  }

  tell(what) {
    for (const listener of this.changed) listener(what);
  }
}
/** Trials up to which each has a dash of its own. */
Selection.FEW = 24;
/** Dashes of the trials of one objective, in order; targets are dotted. */
Selection.DASHES = [[], [9, 3], [4, 3], [12, 3, 2, 3], [6, 2, 2, 2, 2, 2]];
