"""Settings of trials as trackers show them: flat, and which of them set trials apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.flat import flat_settings
from maxent_ray.config.loading import apply_overrides
from maxent_ray.storage.run_files import planned_trials

Settings: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Trial → dotted key → value."""


class PlannedSettings(Mapping[str, Mapping[str, Any]]):
    """Settings of the trials that a comparison or a sweep has planned so far; a search plans some while it goes on.

    Args:
        folder: ``results/<name>``.
        config: Configuration of the run, which stands under the empty name: what a trial has changed varies.
    """

    def __init__(self, folder: Path, config: ExperimentConfig) -> None:
        self._folder = folder
        self._config = config
        self._known = {"": flat_settings(config)}

    def __getitem__(self, trial: str) -> Mapping[str, Any]:
        if trial not in self._known:
            self._read()
        return self._known[trial]

    def __iter__(self) -> Iterator[str]:
        self._read()
        return iter(self._known)

    def __len__(self) -> int:
        self._read()
        return len(self._known)

    def _read(self) -> None:
        """Build the settings of the trials that were planned since the last look."""
        for each in planned_trials(self._folder):
            if each["trial"] not in self._known:
                self._known[each["trial"]] = flat_settings(apply_overrides(self._config, each["overrides"]))


def varied_keys(settings: Settings) -> frozenset[str]:
    """Keys whose values are not the same in all trials.

    Example:
        >>> sorted(varied_keys({"a": {"tau": 1, "seed": 0}, "b": {"tau": 2, "seed": 0}}))
        ['tau']
    """
    trials = list(settings.values())
    keys = {key for trial in trials for key in trial}
    return frozenset(key for key in keys if any(trial.get(key) != trials[0].get(key) for trial in trials))
