"""Records of a comparison or a sweep, written line by line as results come in.

Ray Tune's own result files lose rows under population-based training, so every row goes through a callback of
ours into ``results/<name>/*.jsonl``. A result is recorded before its checkpoint is taken: what could not be
written is trained again after a resume. Of two rows for the same (trial, step, rank) the later one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
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
    plan_record,
    planned_trials,
    sample_records,
    truncate_partial_lines,
)
from maxent_ray.tune.member import Member, ReadMember
from maxent_ray.tune.scheduling import Exploit, Rung
from maxent_ray.tune.trial_spec import TrialSpec

_STATES = {
    "RUNNING": "running",
    "TERMINATED": "done",
    "ERROR": "failed",
    "PAUSED": "paused",
    "PENDING": "paused",
}


class Recorder(tune.Callback):
    """Callback that records every result of every trial, and passes the rows on.

    Args:
        folder: ``results/<name>``.
        listeners: Receivers of every row.
        command: ``compare``, ``sweep`` or ``rllib``.
        read: Reads what a trial is from its ``trial.config``.

    ``failure`` holds the error that stopped the recording: Tune hides it in one of its own. ``stopped`` holds the
    trials that were stopped early.
    """

    def __init__(
        self,
        folder: Path,
        listeners: Sequence[RowListener] = (),
        *,
        command: str = "compare",
        read: ReadMember = TrialSpec.from_config,
    ) -> None:
        self.failure: RecordingError | None = None
        self.stopped: dict[str, Rung] = {}
        self._command = command
        self._member = read
        self._listener = Listeners(listeners)
        self._steps: dict[str, int] = {}
        self._states: dict[str, str] = {}
        self._records = Records(folder)
        self._metrics = RunMetrics(folder.name)
        truncate_partial_lines(folder)
        for name in (ROWS, DECISIONS, LINEAGE, EVALUATIONS, SAMPLES):
            (folder / name).touch()
        self._planned = {record["trial"] for record in planned_trials(folder)}

    def on_plan(self, specs: Iterable[Member]) -> None:
        """Record the trials that the run is going to train, each once."""
        new = [(name, spec) for spec in specs for name in spec.names if name not in self._planned]
        self._planned.update(name for name, _ in new)
        records = (
            plan_record(
                name,
                spec.objective,
                command=self._command,
                steps=spec.steps,
                settings=spec.reported_settings,
                overrides=spec.overrides,
            )
            for name, spec in new
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
        spec = self._member(result["config"])
        rows, decisions = result.pop("rows"), result.pop("decisions")
        evaluation = result.pop("evaluation", None)
        result["config"] = {key: value for key, value in result["config"].items() if key != "settings"}
        self._write(ROWS, rows)
        self._write(DECISIONS, decisions)
        if evaluation is not None:
            for name in spec.names:
                self._evaluated(name, spec, result["steps"], evaluation)
        for name in spec.names:
            self._pass_on(name, spec.objective, spec.segment, [row for row in rows if row["trial"] == name])

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Pass on the trials' new states."""
        states = ((name, _STATES[trial.status]) for trial in trials for name in self._member(trial.config).names)
        for name, reached in states:
            state = "stopped" if reached == "done" and name in self.stopped else reached
            if name in self._steps and self._states.get(name) != state:
                self._states[name] = state
                self._listener.state(name, state)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """End the run's metrics."""
        self._metrics.close()

    def replay(
        self, rows: Iterable[Mapping[str, Any]], specs: Mapping[str, Member], rungs: Iterable[Rung] = ()
    ) -> None:
        """Take up the records of an interrupted run, and pass on its rows."""
        self.stopped = {rung.trial: rung for rung in rungs if rung.stopped}
        by_trial: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            by_trial.setdefault(row["trial"], []).append(row)
        for name, own in by_trial.items():
            own.sort(key=lambda row: (row["step"], row["rank"]))
            self._pass_on(name, specs[name].objective, own[-1]["segment"], own)

    def _evaluated(self, name: str, spec: Member, steps: int, evaluation: Mapping[str, Any]) -> None:
        """Record the end of a trial: samples first, as its evaluation marks it as finished."""
        self._write(SAMPLES, sample_records(name, spec.objective, steps, evaluation["samples"]))
        record = evaluation_record(name, spec.objective, spec.reported_settings, evaluation["metrics"])
        self._write(EVALUATIONS, [record])
        self._metrics.held_out(name, spec.objective, evaluation["metrics"])
        self.stopped.pop(name, None)  # killed when it was stopped, and resumed to its end

    def _pass_on(self, name: str, objective: str, segment: int, rows: Sequence[Mapping[str, Any]]) -> None:
        done = max((row["step"] + 1 for row in rows), default=0)
        new = max(0, done - self._steps.get(name, 0))
        self._steps[name] = self._steps.get(name, 0) + new
        if rows:
            self._listener.update(name, objective, rows[-1], segment)
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
