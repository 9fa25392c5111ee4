"""Ray Tune's trainable of a population over RLlib: builds an algorithm inside, for which RLlib has no ``reset_config``.

Settings stay the trial's: a checkpoint holds state only, and what RLlib restores with an optimizer's state is set anew.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from maxent_ray.report.numbers import mean
from maxent_ray.rllib.optimizer_rates import keep_learning_rates
from maxent_ray.rllib.result_rows import episode_return
from maxent_ray.rllib.trial_records import TrialRecords
from maxent_ray.storage.checkpoint import load_json, save_json_atomic
from maxent_ray.tune.rllib_member import RLlibMember
from maxent_ray.tune.trainable import next_report

ALGORITHM, PROGRESS = "algorithm", "progress.json"


class RLlibTrial(tune.Trainable):
    """A trial of a population over RLlib; ``trial.config`` is an :class:`~maxent_ray.tune.rllib_member.RLlibMember`."""

    _member: RLlibMember
    _algorithm: Algorithm
    _records: TrialRecords
    _steps: int
    _window: list[float | None]
    """Episode returns since the last boundary; the score is their mean."""

    def setup(self, config: dict[str, Any], base: AlgorithmConfig) -> None:  # type: ignore[override]
        """Build the first trial's algorithm.

        Args:
            config: ``trial.config``.
            base: The algorithm that all trials share.
        """
        for chatty in ("ray.train._internal.storage", "ray.tune.trainable.trainable"):
            logging.getLogger(chatty).setLevel(logging.WARNING)  # a line for every checkpoint
        self._base = base
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Build another trial's algorithm; nothing of the former one stays."""
        self.cleanup()
        self._start(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next report, the next boundary or the end, whichever comes first."""
        target = next_report(self._steps, self._member.steps, self._tune)
        if self._steps % self._tune.perturbation_interval == 0:
            self._window = []
        rows, decisions = [], []
        while self._steps < target:
            result = self._algorithm.train()
            records = self._records.read(result, self._steps)
            rows += records.rows
            decisions += records.decisions
            self._window.append(episode_return(result))
            self._steps += 1
        score = mean(self._window)
        done = self._steps >= self._member.steps
        return {
            "steps": self._steps,
            "score": float("nan") if score is None else score,
            "rows": rows,
            "decisions": decisions,
            "done": done,
            **({"evaluation": {"metrics": {}, "samples": []}} if done else {}),
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write state and progress; settings stay in ``trial.config``."""
        self._algorithm.save_to_path(str(Path(checkpoint_dir, ALGORITHM).resolve()))
        save_json_atomic(Path(checkpoint_dir, PROGRESS), {"steps": self._steps, "window": self._window})

    def load_checkpoint(self, checkpoint_dir: str) -> None:  # type: ignore[override]  # a folder was saved
        """Resume from a checkpoint, this trial's or its donor's, with this trial's settings.

        Raises:
            ResumeError: it is damaged; the message says what to do.
        """
        folder = Path(checkpoint_dir)
        advice = f"copy the files of an earlier checkpoint in {folder.parent} into {folder}, and resume from there"
        progress = load_json(folder / PROGRESS, advice)
        self._algorithm.restore_from_path(str((folder / ALGORITHM).resolve()))
        keep_learning_rates(self._algorithm)
        self._steps, self._window = progress["steps"], progress["window"]
        self._records.start_at(self._steps)

    def cleanup(self) -> None:
        """Stop the algorithm."""
        self._records.close()
        self._algorithm.stop()

    def _start(self, config: Mapping[str, Any]) -> None:
        self._member = replace(RLlibMember.from_config(config), base=self._base)
        self._tune = self._member.experiment.tune
        self._steps, self._window = 0, []
        trial = self._member.trial
        self._algorithm = self._member.algorithm(f"{trial}-{uuid.uuid4().hex[:12]}").build_algo()
        run = Path(self._storage.experiment_fs_path).parent.name if self._storage is not None else trial
        self._records = TrialRecords(self._algorithm, run=run, trial=trial, segment=self._member.segment)
