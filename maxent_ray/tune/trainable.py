"""Ray Tune's trainable: hosts the workers of a trial, trains a few steps a call, can be saved, loaded and reset.

With ``reuse_actors`` the same actor is trial after trial: :meth:`PopulationTrial.reset_config` reinitialises
everything, and a paused trial resumes from its checkpoint.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune

from maxent_ray.config import ExperimentConfig
from maxent_ray.core.answer_metrics import METRICS, TRAINING_SIGNALS
from maxent_ray.report.numbers import mean, number
from maxent_ray.runtime.run_tags import RunTags
from maxent_ray.storage.atomic import write_atomic
from maxent_ray.storage.checkpoint import load_json, read_block, save_json_atomic
from maxent_ray.storage.json_lines import strict
from maxent_ray.train.model_check import check_model
from maxent_ray.tune.trial_group import Serialisable, TrialGroup
from maxent_ray.tune.trial_spec import TrialSpec

STATE, PROGRESS = "state.safetensors", "progress.json"


class PopulationTrial(tune.Trainable):
    """A trial of a comparison or a sweep; ``trial.config`` is a :class:`TrialSpec`."""

    _steps: int
    _version: int
    """Newest controller decision that was reported."""
    _window: list[dict[str, float | None]]
    """Metrics of every row since the last boundary; the score is their mean."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Ask for one bundle for each worker, and nothing for the trial itself."""
        return tune.PlacementGroupFactory([{}, *worker_bundles(TrialSpec.from_config(config).experiment())])

    @classmethod
    def check(cls, config: ExperimentConfig) -> None:
        """Check on the cluster, before the first trial, what the workers of all trials load.

        Raises:
            MaxentRayError: as :func:`~maxent_ray.train.model_check.check_model`.
        """
        check_model(config)

    def make_group(self, config: ExperimentConfig, run_id: str, tags: RunTags) -> TrialGroup:
        """Start the workers; they land in this trial's placement group."""
        from maxent_ray.train.worker_group import WorkerGroup  # loads torch: only where workers are hosted

        return WorkerGroup(config, run_id, tags)

    def setup(self, config: dict[str, Any]) -> None:
        """Start the workers of the first trial."""
        for chatty in ("ray.train._internal.storage", "ray.tune.trainable.trainable"):
            logging.getLogger(chatty).setLevel(logging.WARNING)  # a line for every checkpoint
        self._adopt(config)
        self._group = self.make_group(self._experiment, self._run_id(), self._tags())

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in the same actor; nothing of the former one stays."""
        self._adopt(new_config)
        self._group.reset(self._experiment, self._run_id(), self._tags())
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next report, the next boundary or the end, whichever comes first."""
        target = next_report(self._steps, self._total, self._experiment.tune)
        rows = [row.to_dict() for row in self._train_until(target)]
        self._window = self._kept_window() + [_metrics(row) for row in rows]
        self._steps = target
        means = {metric: finite_mean(row[metric] for row in self._window) for metric in METRICS}
        result: dict[str, Any] = {
            "steps": self._steps,
            "score": means[self._experiment.tune.metric],
            **means,
            "rows": [self._label(row) for row in rows],
            "decisions": [self._label(decision) for decision in self._new_decisions()],
            "done": self._steps >= self._total,
        }
        if result["done"]:
            result["evaluation"] = self._group.evaluate().to_dict()
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write state and progress; settings stay in ``trial.config``."""
        progress = {"steps": self._steps, "version": self._version, "window": strict(self._window)}
        write_atomic(Path(checkpoint_dir) / STATE, self._group.state_dict())
        save_json_atomic(Path(checkpoint_dir) / PROGRESS, progress)

    def load_checkpoint(self, checkpoint_dir: str) -> None:  # type: ignore[override]  # a folder was saved
        """Resume from a checkpoint, this trial's or its donor's, with this trial's settings.

        Raises:
            ResumeError: it is damaged or of a newer schema; nothing was loaded, and the message says what to do.
        """
        folder = Path(checkpoint_dir)
        progress = load_json(folder / PROGRESS, _advice(folder))
        self._group.load_state_dict(read_block(folder / STATE, _advice(folder)))
        self._steps, self._version = progress["steps"], progress["version"]
        self._window = progress["window"]

    def cleanup(self) -> None:
        """Stop the workers."""
        self._group.close()

    def _adopt(self, config: dict[str, Any]) -> None:
        self._spec = TrialSpec.from_config(config)
        self._experiment = self._spec.experiment()
        self._total = self._spec.steps
        self._steps, self._version, self._window = 0, 0, []

    def _train_until(self, target: int) -> Sequence[Serialisable]:
        return self._group.run(target - self._steps) if target > self._steps else []

    def _kept_window(self) -> list[dict[str, float | None]]:
        """Metrics that count for the score: those since the last boundary."""
        return [] if self._steps % self._experiment.tune.perturbation_interval == 0 else self._window

    def _new_decisions(self) -> list[dict[str, Any]]:
        decisions = self._group.decisions(self._version)
        self._version = max([self._version, *(decision["version"] for decision in decisions)])
        return decisions

    def _label(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return {**record, "trial": self._spec.trial, "segment": self._spec.segment}

    def _run_id(self) -> str:
        """A name that is never used twice: an actor that still serves this trial's past must not be found again."""
        return f"{self._spec.trial}-{uuid.uuid4().hex[:12]}"

    def _tags(self) -> RunTags:
        """Tags of the trial's metrics: Tune's folder is ``results/<name>/tune``; a trial on its own has none."""
        trial = self._spec.trial
        run = Path(self._storage.experiment_fs_path).parent.name if self._storage is not None else trial
        return RunTags(run, trial, self._spec.objective)


def next_report(steps: int, total: int, tune_settings: Any) -> int:
    """Find the step of the next report after ``steps``; boundaries and the end are always reported.

    Example:
        >>> from maxent_ray.config import TuneSettings
        >>> settings = TuneSettings(steps_per_report=5, perturbation_interval=12)
        >>> next_report(0, 60, settings), next_report(10, 60, settings), next_report(59, 60, settings)
        (5, 12, 60)
    """
    interval = tune_settings.perturbation_interval
    boundary = (steps // interval + 1) * interval
    return int(min(steps + tune_settings.steps_per_report, boundary, total))


def _metrics(row: Mapping[str, Any]) -> dict[str, float | None]:
    return {metric: row[signal] for metric, signal in TRAINING_SIGNALS.items()}


def worker_bundles(config: ExperimentConfig) -> list[dict[str, float]]:
    """Resources of each worker of one trial."""
    bundle = {"CPU": config.train.cpus_per_worker}
    if config.train.use_gpu:
        bundle["GPU"] = config.train.gpus_per_worker
    return [bundle] * config.train.num_workers


def finite_mean(values: Any) -> float:
    """Mean of the finite values; nan when there is none.

    Example:
        >>> finite_mean([1.0, None, math.nan, 2.0]), finite_mean([])
        (1.5, nan)
    """
    average = mean(map(number, values))
    return math.nan if average is None else average


def _advice(folder: Path) -> str:
    """Advice on a checkpoint that cannot be read; Tune knows of this one only."""
    return (
        f"copy the files of an earlier checkpoint in {folder.parent} into {folder}, and --resume continues from there"
    )
