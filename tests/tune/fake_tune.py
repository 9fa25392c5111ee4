"""The little of Ray Tune that a scheduler sees, written by hand: its decisions are tested in milliseconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial

from maxent_ray.config import TuneSettings
from maxent_ray.tune.schedulers import StratifiedPBT
from maxent_ray.tune.scheduling import Exploit
from maxent_ray.tune.search_space import SearchSpace
from maxent_ray.tune.trial_spec import TrialSpec


@dataclass(eq=False)
class FakeTrial:
    config: dict[str, Any]
    status: str = Trial.PENDING
    experiment_tag: str = "0"
    checkpoint: Any = None
    latest_checkpoint_result: Any = None
    evaluated_params: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.trial_id = self.config["trial"]
        manager = SimpleNamespace(checkpoint_config=SimpleNamespace(num_to_keep=4), _latest_checkpoint_result=None)
        self.run_metadata = SimpleNamespace(checkpoint_manager=manager, invalidate_cache=lambda: None)
        self.temporary_state = SimpleNamespace(saving_to=None)

    def is_finished(self) -> bool:
        return self.status in (Trial.TERMINATED, Trial.ERROR)

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config

    def set_experiment_tag(self, tag: str) -> None:
        self.experiment_tag = tag

    def set_status(self, status: str) -> None:
        self.status = status


class FakeTune:
    """Drives a scheduler as Tune's control loop does, with scores from a table."""

    def __init__(self, settings: TuneSettings, space: SearchSpace, specs: list[TrialSpec], seed: int = 0) -> None:
        self.exploits: list[Exploit] = []
        self.scheduler = StratifiedPBT(
            settings, space, seed=seed, on_exploit=self.exploits.append, read=TrialSpec.from_config
        )
        self.search_alg = None
        self.trials = [FakeTrial(spec.to_config()) for spec in specs]
        self.marked: set[FakeTrial] = set()
        self._tune_controller = self
        for trial in self.trials:
            self.scheduler.on_trial_add(self, trial)  # type: ignore[arg-type]

    def _mark_trial_to_checkpoint(self, trial: FakeTrial) -> None:
        self.marked.add(trial)

    def get_trials(self) -> list[FakeTrial]:
        return self.trials

    def __getitem__(self, name: str) -> FakeTrial:
        return next(trial for trial in self.trials if trial.config["trial"] == name)

    def report(self, name: str, steps: int, score: float = math.nan) -> str:
        """A running trial reports; if it is told to pause, its checkpoint is written and it stops."""
        trial = self[name]
        trial.status = Trial.RUNNING
        decision = self.scheduler.on_trial_result(self, trial, {"steps": steps, "score": score})  # type: ignore[arg-type]
        if decision == "PAUSE":
            trial.checkpoint = f"{name}@{steps}"
            trial.status = Trial.PAUSED
        return decision

    def choose(self) -> str | None:
        trial = self.scheduler.choose_trial_to_run(self)
        return None if trial is None else str(trial.config["trial"])

    def lineage(self) -> list[tuple[int, str, str]]:
        return [(exploit.step, exploit.recipient, exploit.donor) for exploit in self.exploits]
