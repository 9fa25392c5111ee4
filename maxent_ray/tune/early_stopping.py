"""Asynchronous successive halving inside objectives: the trials of a sweep with the lowest scores are stopped early.

Ray's ``ASHAScheduler`` decides. Each objective has its own, so that trials are compared with trials of their own
objective only, and references belong to none. What was decided is recorded, and a resumed run starts from the records:
Ray does not save its schedulers' state.

Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (ASHA), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from maxent_ray.config import ExperimentConfig
from maxent_ray.errors import ConfigError
from maxent_ray.storage.json_lines import read_lines
from maxent_ray.storage.run_files import RUNGS
from maxent_ray.tune.member import RESULT_KEYS
from maxent_ray.tune.scheduling import Rung
from maxent_ray.tune.trial_spec import TrialSpec

TIME, SCORE, _ = RESULT_KEYS


class StratifiedASHA(FIFOScheduler):
    """Scheduler that stops the lowest trials of each objective.

    Args:
        config: Of the experiment; ``tune.grace_period`` and ``tune.reduction_factor`` are ASHA's settings.
        rungs: What an interrupted run has decided.
        on_rung: Called with every decision.

    A score that is not finite is compared with none, and its trial continues.
    """

    def __init__(
        self, config: ExperimentConfig, *, rungs: Iterable[Rung] = (), on_rung: Callable[[Rung], None]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._config = config
        self._on_rung = on_rung
        self._strata: dict[str, ASHAScheduler] = {}
        self._stopped: set[str] = set()
        for rung in rungs:
            self._ask(rung.objective, rung.trial, rung.step, rung.score)
            if rung.stopped:
                self._stopped.add(rung.trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Continue or stop."""
        spec = TrialSpec.from_config(trial.config)
        if spec.trial in self._stopped:  # the run was killed before Tune had saved that it is
            return str(TrialScheduler.STOP)
        if spec.is_reference or not math.isfinite(result[SCORE]):
            return str(TrialScheduler.CONTINUE)
        rung = self._ask(spec.objective, spec.trial, int(result[TIME]), float(result[SCORE]))
        if rung is None:
            return str(TrialScheduler.CONTINUE)
        self._on_rung(rung)
        if rung.stopped:
            self._stopped.add(spec.trial)
        return str(TrialScheduler.STOP if rung.stopped else TrialScheduler.CONTINUE)

    def _ask(self, objective: str, trial: str, steps: int, score: float) -> Rung | None:
        """Have Ray decide on a result, with the rung that it is compared at; None between two rungs."""
        asha = self._strata.setdefault(objective, self._stratum())
        own: Any = SimpleNamespace(trial_id=trial)  # all that Ray takes of a trial; its ids are new in every run
        controller: Any = None  # Ray does not look at it
        asha.on_trial_add(controller, own)
        (bracket,) = asha._brackets  # Ray tells neither the rung nor the cutoff
        reached = next(((at, known) for at, known in bracket._rungs if steps >= at), None)
        if reached is None or trial in reached[1]:
            return None
        at, cutoff = float(reached[0]), cast(float | None, bracket.cutoff(reached[1]))
        action = asha.on_trial_result(controller, own, {TIME: steps, SCORE: score})
        stopped = action == TrialScheduler.STOP
        return Rung(steps, trial, objective, at, score, None if cutoff is None else float(cutoff), stopped)

    def _stratum(self) -> ASHAScheduler:
        settings = self._config.tune
        return ASHAScheduler(
            time_attr=TIME,
            metric=SCORE,
            mode="max",
            max_t=self._config.train.steps,
            grace_period=settings.grace_period,
            reduction_factor=settings.reduction_factor,
            stop_last_trials=False,  # a trial ends by itself; with True Ray looks at passed rungs again
        )


def check_early_stopping(config: ExperimentConfig) -> None:
    """Check that trials can be stopped, where that is asked for.

    Raises:
        ConfigError: ``tune.grace_period`` is as long as the run.

    Example:
        >>> from maxent_ray.config.loading import load_config
        >>> check_early_stopping(load_config(overrides=["tune.scheduler=asha", "train.steps=20"]))
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: tune.grace_period is 20; with tune.scheduler = asha it must be below train.steps
        = 20, or no trial could be stopped
    """
    if config.tune.scheduler == "asha" and config.tune.grace_period >= config.train.steps:
        raise ConfigError(
            f"tune.grace_period is {config.tune.grace_period}; with tune.scheduler = asha it must be below train.steps "
            f"= {config.train.steps}, or no trial could be stopped"
        )


def read_rungs(folder: Path) -> list[Rung]:
    """Decisions that a run has recorded, each trial and rung once."""
    records = {(record["trial"], record["rung"]): record for record in read_lines(folder / RUNGS)[0]}
    return [Rung(**record) for record in records.values()]
