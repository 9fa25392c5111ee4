"""Settings of trials as trackers show them: flat, and which of them set trials apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import apply_overrides
from maxent_ray.storage.run_files import planned_trials

Settings: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Trial → dotted key → value."""


def flat_settings(config: ExperimentConfig) -> dict[str, Any]:
    """Every setting of a configuration by its dotted key.

    Example:
        >>> flat_settings(ExperimentConfig())["controller.target_kl"]
        0.05
    """
    return dict(_flat("", config.model_dump(mode="json")))


class PlannedSettings(Mapping[str, Mapping[str, Any]]):
    """Settings of the trials that a comparison or a sweep has planned so far; a search plans some while it goes on.

    Args:
        folder: ``results/<name>``.
        config: Configuration of the run, which stands under the empty name: what a trial has changed varies.
    """

    def __init__(self, folder: Path, config: ExperimentConfig) -> None:
        self._folder = folder
        self._config = config

    def __getitem__(self, trial: str) -> Mapping[str, Any]:
        return flat_settings(apply_overrides(self._config, self._overrides()[trial]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._overrides())

    def __len__(self) -> int:
        return len(self._overrides())

    def _overrides(self) -> dict[str, Mapping[str, Any]]:
        return {"": {}, **{each["trial"]: each["overrides"] for each in planned_trials(self._folder)}}


def varied_keys(settings: Settings) -> frozenset[str]:
    """Keys whose values are not the same in all trials.

    Example:
        >>> sorted(varied_keys({"a": {"tau": 1, "seed": 0}, "b": {"tau": 2, "seed": 0}}))
        ['tau']
    """
    trials = list(settings.values())
    keys = {key for trial in trials for key in trial}
    return frozenset(key for key in keys if any(trial.get(key) != trials[0].get(key) for trial in trials))


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value
