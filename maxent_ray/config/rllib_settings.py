"""Settings of a run of RLlib, as its ``config.yaml`` has them: the algorithm, what is controlled, the population."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from maxent_ray.config.domains import Domain
from maxent_ray.config.section import Count, FromList, Section, Seed, Whole
from maxent_ray.config.settings import PopulationSettings


class AlgorithmSettings(Section):
    """Algorithm of RLlib."""

    algorithm: str
    """Its class, such as ``PPO``."""
    environment: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings that are not RLlib's defaults, as plain values."""


class RLlibTrainSettings(Section):
    """Length of one run."""

    steps: Count | None = None
    """RLlib's training iterations; None where it is not known beforehand."""
    seed: Seed = 0
    max_failures: Annotated[Whole, Field(ge=0)] = 1
    """Restarts of a trial from its last checkpoint after a worker died."""


class RLlibTuneSettings(PopulationSettings):
    """Population-based training over algorithms of RLlib; steps are training iterations."""

    objectives: Annotated[tuple[str, ...], Field(min_length=1), FromList] = ("analytic",)
    search_space: dict[str, Domain] = Field(default_factory=dict)
    """Dotted key → domain: ``controller.…`` for arguments of ``control``, ``rllib.…`` for RLlib's own settings."""
    steps_per_report: Count = 1
    metric: Literal["episode_return"] = "episode_return"
    """Score that clones are chosen by: its mean since the last perturbation."""


class RLlibConfig(Section):
    """A whole run, or a population.

    Example:
        >>> config = RLlibConfig(rllib=AlgorithmSettings(algorithm="PPO", environment="CartPole-v1"))
        >>> config.score_signal, config.group_size
        ('episode_return', None)
    """

    rllib: AlgorithmSettings
    controller: dict[str, Any] = Field(default_factory=dict)
    """Arguments of :func:`maxent_ray.rllib.control`."""
    train: RLlibTrainSettings = RLlibTrainSettings()
    tune: RLlibTuneSettings = RLlibTuneSettings()

    @property
    def training(self) -> Literal["episodes"]:
        """Kind of training, which decides on the signals that there are."""
        return "episodes"

    @property
    def score_signal(self) -> str:
        """Logged signal that trials are compared by."""
        return self.tune.metric

    @property
    def group_size(self) -> None:
        """None: there are no groups."""
        return None

    @property
    def held_out_samples(self) -> None:
        """None: nothing is held out."""
        return None
