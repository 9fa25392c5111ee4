"""Callback that records a run of RLlib in a results folder, which the page, the report and the live view read."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.utils import force_list

from maxent_ray.config import RLlibConfig, RLlibTrainSettings, dump_config
from maxent_ray.errors import ConfigError, ResumeError
from maxent_ray.rllib.algorithm_record import algorithm_settings, config_of
from maxent_ray.rllib.settings import KEY
from maxent_ray.rllib.trial_records import TrialRecords
from maxent_ray.storage.driver_lock import driver_lock
from maxent_ray.storage.records import Records
from maxent_ray.storage.run_files import CONFIG, DECISIONS, ROWS, TRIALS, plan_record, truncate_partial_lines
from maxent_ray.storage.write_errors import writing

COMMAND, FOLDER = "rllib", "maxent_ray_results"
"""Command of a run of RLlib in its records; key of the folder in ``learner_config_dict``."""
AnyConfig = TypeVar("AnyConfig", bound=AlgorithmConfig)


def record(config: AnyConfig, results: str | Path) -> AnyConfig:
    """Record the runs of an algorithm, with a controller or without one; ``control(config, results=…)`` does it too.

    Args:
        config: Of any algorithm on RLlib's new API stack; it is changed in place.
        results: Folder of the records, such as ``results/mine``; an algorithm that is restored continues in it.

    Raises:
        ConfigError: the folder has no name.

    Example:
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> config = record(PPOConfig().environment("CartPole-v1"), "results/mine")
        >>> config.callbacks_class[-1].__name__
        'RecordRun'
    """
    folder = Path(results).resolve()
    if not folder.name:
        raise ConfigError(f"results is {str(results)!r}; it must name a folder, such as results/mine")
    others = [each for each in force_list(config.callbacks_class) if each not in (RLlibCallback, RecordRun)]
    config.callbacks(callbacks_class=[*others, RecordRun])
    config.learners(learner_config_dict={**config.learner_config_dict, FOLDER: str(folder)})
    return config


def run_config(config: AlgorithmConfig) -> RLlibConfig:
    """Settings of a run, as its ``config.yaml`` has them."""
    settings = config.learner_config_dict.get(KEY, {"controller": {}, "modules": {}})
    given = {name: value for name, value in settings["controller"].items() if value is not None}
    return RLlibConfig(
        rllib=algorithm_settings(config),
        controller={**given, **({"modules": settings["modules"]} if settings["modules"] else {})},
        train=RLlibTrainSettings(seed=config.seed or 0),
    )


class RecordRun(RLlibCallback):
    """Callback that writes a run's settings, a row for each training iteration and the controllers' decisions.

    The folder is locked until the process ends or another of its algorithms takes it over. One that is restored from a
    checkpoint continues in the folder.
    """

    _open: ClassVar[dict[Path, RecordRun]] = {}
    """Folder → the callback that records in it, of this process."""

    def on_algorithm_init(self, *, algorithm: Algorithm, **kwargs: Any) -> None:
        """Create the folder, or lock the one that there is.

        Raises:
            ResumeError: it is no run's folder, or in use.
            RecordingError: it cannot be written to.
        """
        config = config_of(algorithm)
        self.folder = Path(config.learner_config_dict[FOLDER])
        is_new = not (self.folder / CONFIG).is_file()
        if is_new and self.folder.exists():
            raise ResumeError(f"{self.folder} exists and holds no run (it has no {CONFIG}); choose another folder")
        self._take_over()
        self._trial = TrialRecords(algorithm, run=self.folder.name, trial=self.folder.name)
        self._holds_another = not is_new
        if is_new:
            dump_config(run_config(config), self.folder / CONFIG)
            names, objectives = self._trial.names, self._trial.objectives
            plan = [plan_record(names[module], objectives[module], command=COMMAND) for module in names]
            self._files.append(TRIALS, plan)
        truncate_partial_lines(self.folder)

    def on_train_result(self, *, algorithm: Algorithm, result: dict[str, Any], **kwargs: Any) -> None:
        """Record one training iteration.

        Raises:
            ResumeError: the folder holds another run, or another algorithm of this process has taken it over.
            RecordingError: the records cannot be written.
        """
        step = int(result["training_iteration"]) - 1
        self._check_continues(step)
        rows, decisions = self._trial.read(result, step)
        self._files.append(DECISIONS, decisions)
        self._files.append(ROWS, rows)

    def close(self) -> None:
        """Release the folder."""
        self._trial.close()
        self._lock.close()
        del self._open[self.folder]

    def _take_over(self) -> None:
        """Create and lock the folder."""
        if self.folder in self._open:
            self._open[self.folder].close()
        with writing(self.folder, "Nothing was started"):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = ExitStack()
        self._lock.enter_context(driver_lock(self.folder))
        self._open[self.folder] = self
        self._files = Records(self.folder)

    def _check_continues(self, step: int) -> None:
        if self._open.get(self.folder) is not self:
            raise ResumeError(
                f"{self.folder} is recorded by a newer algorithm of this process; give each a folder of its own"
            )
        if self._holds_another and step == 0:
            raise ResumeError(
                f"{self.folder} holds a run, which a new algorithm does not continue: restore it from a checkpoint of "
                "that run, or choose another folder"
            )
