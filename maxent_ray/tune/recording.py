"""Records of a comparison or a sweep, written line by line as results come in.

Ray Tune's own result files lose rows under population-based training, so every row goes through a callback of
ours into ``results/<name>/*.jsonl``. A result is recorded before its checkpoint is taken: what could not be
written is trained again after a resume. Of two rows for the same (trial, step, rank) the later one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ray import tune

from maxent_ray.errors import RecordingError
from maxent_ray.runtime.metrics import RunMetrics
from maxent_ray.storage.records import Records
from maxent_ray.storage.row_listener import Listeners, RowListener
from maxent_ray.storage.run_files import (
    DECISIONS,
    EVALUATIONS,
    LINEAGE,
    ROWS,
    RUNGS,
    SAMPLES,
    TRIALS,
    evaluation_record,
    planned_trials,
    sample_records,
    truncate_partial_lines,
)
from maxent_ray.tune.trial_spec import TrialSpec

_STATES = {
    "RUNNING": "running",
    "TERMINATED": "done",
    "ERROR": "failed",
    "PAUSED": "paused",
    "PENDING": "paused",
}


@dataclass(frozen=True)
class Exploit:
    """One clone: recipient, donor, their scores and settings."""

    step: int
    recipient: str
    donor: str
    recipient_objective: str
    donor_objective: str
    new_objective: str
    score_recipient: float | None
    score_donor: float | None
    old: dict[str, Any]
    """The recipient's values before."""
    new: dict[str, Any]
    """Its values from now on: the donor's, perturbed."""
    operations: dict[str, str]
    """Perturbation of each of the donor's values."""


@dataclass(frozen=True)
class Rung:
    """One comparison of early stopping: a trial's score at a number of steps, and what it must reach to continue."""

    step: int
    trial: str
    objective: str
    rung: float
    """Policy steps at which trials are compared; ``step`` is the first report after them."""
    score: float
    cutoff: float | None
    """Of the scores of the objective's trials that were there before; None for the first."""
    stopped: bool


class Recorder(tune.Callback):
    """Callback that records every result of every trial, and passes the rows on.

    Args:
        folder: ``results/<name>``.
        listeners: Receivers of every row.
        command: ``compare`` or ``sweep``.

    ``failure`` holds the error that stopped the recording: Tune hides it in one of its own. ``stopped`` holds the
    trials that were stopped early.
    """

    def __init__(self, folder: Path, listeners: Sequence[RowListener] = (), *, command: str = "compare") -> None:
        self.failure: RecordingError | None = None
        self.stopped: dict[str, Rung] = {}
        self._command = command
        self._listener = Listeners(listeners)
        self._steps: dict[str, int] = {}
        self._states: dict[str, str] = {}
        self._records = Records(folder)
        self._metrics = RunMetrics(folder.name)
        truncate_partial_lines(folder)
        for name in (ROWS, DECISIONS, LINEAGE, EVALUATIONS, SAMPLES):
            (folder / name).touch()
        self._planned = {record["trial"] for record in planned_trials(folder)}

    def on_plan(self, specs: Iterable[TrialSpec]) -> None:
        """Record the trials that the run is going to train, each once."""
        new = [spec for spec in specs if spec.trial not in self._planned]
        self._planned.update(spec.trial for spec in new)
        records = (
            {
                "trial": spec.trial,
                "objective": spec.objective,
                "steps": spec.steps,
                "settings": spec.reported_settings,
                "overrides": spec.overrides,
                "command": self._command,
            }
            for spec in new
        )
        self._write(TRIALS, records)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Stop a run whose folder was moved, before Tune writes where it was."""
        with self._noting_failure():
            self._records.check_in_place()

    def on_exploit(self, exploit: Exploit) -> None:
        """Record a clone."""
        self._write(LINEAGE, [asdict(exploit)])
        self._metrics.clone(exploit.recipient, exploit.new_objective)

    def on_rung(self, rung: Rung) -> None:
        """Record a comparison of early stopping."""
        self._write(RUNGS, [asdict(rung)])
        if rung.stopped:
            self.stopped[rung.trial] = rung

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record a result, and take the records out of the one that Tune keeps."""
        spec = TrialSpec.from_config(result["config"])
        rows, decisions = result.pop("rows"), result.pop("decisions")
        evaluation = result.pop("evaluation", None)
        result["config"] = {key: value for key, value in result["config"].items() if key != "settings"}
        self._write(ROWS, rows)
        self._write(DECISIONS, decisions)
        if evaluation is not None:
            samples = sample_records(spec.trial, spec.objective, result["steps"], evaluation["samples"])
            record = evaluation_record(spec.trial, spec.objective, spec.reported_settings, evaluation["metrics"])
            self._write(SAMPLES, samples)
            self._write(EVALUATIONS, [record])
            self._metrics.held_out(spec.trial, spec.objective, evaluation["metrics"])
            self.stopped.pop(spec.trial, None)  # killed when it was stopped, and resumed to its end
        self._pass_on(spec, rows)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Pass on the trials' new states."""
        for trial in trials:
            name, state = trial.config["trial"], _STATES[trial.status]
            state = "stopped" if state == "done" and name in self.stopped else state
            if name in self._steps and self._states.get(name) != state:
                self._states[name] = state
                self._listener.state(name, state)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """End the run's metrics."""
        self._metrics.close()

    def replay(
        self, rows: Iterable[Mapping[str, Any]], specs: Mapping[str, TrialSpec], rungs: Iterable[Rung] = ()
    ) -> None:
        """Take up the records of an interrupted run, and pass on its rows."""
        self.stopped = {rung.trial: rung for rung in rungs if rung.stopped}
        by_trial: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            by_trial.setdefault(row["trial"], []).append(row)
        for trial, own in by_trial.items():
            own.sort(key=lambda row: (row["step"], row["rank"]))
            self._pass_on(replace(specs[trial], segment=own[-1]["segment"]), own)

    def _pass_on(self, spec: TrialSpec, rows: Sequence[Mapping[str, Any]]) -> None:
        done = max((row["step"] + 1 for row in rows), default=0)
        new = max(0, done - self._steps.get(spec.trial, 0))
        self._steps[spec.trial] = self._steps.get(spec.trial, 0) + new
        if rows:
            self._listener.update(spec.trial, spec.objective, rows[-1], spec.segment)
            self._listener.advance(new)

    def _write(self, name: str, records: Iterable[Mapping[str, Any]]) -> None:
        with self._noting_failure():
            self._records.append(name, records)

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            yield
        except RecordingError as error:
            self.failure = error
            raise
