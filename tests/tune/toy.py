"""A population trial without a model: rows follow from the settings, so every score is known beforehand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from maxent_ray.config import ExperimentConfig
from maxent_ray.errors import ConfigError
from maxent_ray.runtime.run_tags import RunTags
from maxent_ray.storage.checkpoint import decode, encode
from maxent_ray.tune.trainable import PopulationTrial, TrialGroup

OFFSET = {"analytic": 0.0, "truncated_backprop": 100.0}
"""Scores of the two objectives, wildly apart."""
SAMPLE = {"prompt": "2,3=5:", "modes": 1, "answers": [{"text": "2+3", "reward": 1.0, "mode": "2+3"}]}
"""Samples of every evaluation."""
GATE = 8
"""The step at which a :class:`GatedGroup` waits."""


class ToyRecord:
    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def to_dict(self) -> dict[str, Any]:
        return self._values


class ToyGroup:
    """State is the step and a sum that every step adds to; a row's coverage depends on the settings."""

    def __init__(self, config: ExperimentConfig, run_id: str, tags: RunTags) -> None:
        self.reset(config, run_id, tags)

    def reset(self, config: ExperimentConfig, run_id: str, tags: RunTags) -> None:
        self._config, self._step, self._sum, self.tags = config, 0, 0.0, tags

    def run(self, steps: int) -> Sequence[ToyRecord]:
        time.sleep(0.002 * steps)
        return [self._row() for _ in range(steps)]

    def _row(self) -> ToyRecord:
        controller = self._config.controller
        method = "fixed" if controller.objective is None else controller.objective.label
        coverage = controller.target_kl + OFFSET.get(method, 0.0)
        self._sum += controller.target_kl
        row = {
            "step": self._step,
            "rank": 0,
            "objective": method,
            "tau": controller.initial("tau"),
            "beta": self._sum,
            "reward": 0.5,
            "pass_rate": 0.5,
            "distinct": 1.0,
            "coverage": coverage,
        }
        self._step += 1
        return ToyRecord(row)

    def state_dict(self) -> bytes:
        return encode({}, {"step": self._step, "sum": self._sum})

    def load_state_dict(self, state: bytes) -> None:
        values = decode(state, "the toy's state").state
        self._step, self._sum = values["step"], values["sum"]

    def evaluate(self) -> ToyRecord:
        return ToyRecord({"metrics": {"mean": self._sum, "steps": self._step}, "samples": [SAMPLE]})

    def decisions(self, since_version: int) -> list[dict[str, Any]]:
        return [{"version": v, "reason": "updated"} for v in range(since_version + 1, self._step + 1)]

    def close(self) -> None: ...


class FragileGroup(ToyGroup):
    """Fails once at step 2; ``policy.model`` names a file that remembers it. Without such a name it always fails."""

    def run(self, steps: int) -> Sequence[ToyRecord]:
        memory = Path(self._config.policy.model)
        if self._step >= 2 and not memory.exists():
            if memory.is_absolute():
                memory.touch()
            raise RuntimeError("the toy broke")
        return super().run(steps)


class GatedGroup(ToyGroup):
    """Waits before :data:`GATE` until the file that ``policy.model`` names is there; references pass."""

    def run(self, steps: int) -> Sequence[ToyRecord]:
        held = self._step >= GATE and self._config.controller.objective is not None
        while held and not Path(self._config.policy.model).exists():
            time.sleep(0.02)
        return super().run(steps)


class BreakingGroup(ToyGroup):
    """Fails at step 2 of the analytic objective, as one of our own errors does."""

    def run(self, steps: int) -> Sequence[ToyRecord]:
        objective = self._config.controller.objective
        if self._step >= 2 and objective is not None and objective.label == "analytic":
            raise ConfigError("the toy is odd:\n  it is 3")
        return super().run(steps)


class ToyTrial(PopulationTrial):
    @classmethod
    def check(cls, config: ExperimentConfig) -> None:
        """Nothing: there is no model."""

    def make_group(self, config: ExperimentConfig, run_id: str, tags: RunTags) -> TrialGroup:
        return ToyGroup(config, run_id, tags)


class GatedTrial(ToyTrial):
    def make_group(self, config: ExperimentConfig, run_id: str, tags: RunTags) -> TrialGroup:
        return GatedGroup(config, run_id, tags)


class FragileTrial(ToyTrial):
    def make_group(self, config: ExperimentConfig, run_id: str, tags: RunTags) -> TrialGroup:
        return FragileGroup(config, run_id, tags)


class OneBreaks(PopulationTrial):
    def make_group(self, config: ExperimentConfig, run_id: str, tags: RunTags) -> TrialGroup:
        return BreakingGroup(config, run_id, tags)


@ray.remote(num_cpus=1)
class OtherWork:
    """Holds a CPU of the cluster, so that fewer trials than usual run at a time."""

    def ready(self) -> None: ...
