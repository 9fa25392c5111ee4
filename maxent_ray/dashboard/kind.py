"""Kind of a run, and its number of policy steps in all, told from its folder and its settings."""

from __future__ import annotations

from typing import Literal

from maxent_ray.config import ExperimentConfig
from maxent_ray.dashboard.run_reader import RunReader
from maxent_ray.report.labels import REFERENCES, WARM_START
from maxent_ray.report.numbers import natural_key
from maxent_ray.storage.run_files import LINEAGE, TUNE_FOLDER

Kind = Literal["train", "compare", "sweep", ""]


def kind_of(run: RunReader) -> Kind:
    """Command that made a run; empty for a folder that holds none.

    A sweep searches over targets and update rules only, so its trials lack the other searched values, and it may have
    more trials than a population.
    """
    if run.config is None:
        return ""
    if not any((run.folder / name).exists() for name in (TUNE_FOLDER, LINEAGE)):
        return "train"
    own = [trial for trial, objective in run.trials().items() if objective not in REFERENCES]
    given = set(run.settings(own[0])) if own else set()
    lacks_values = bool(given) and given < set(run.config.tune.search_space)
    has_more_trials = any(natural_key(trial)[1] >= run.config.tune.trials_per_objective for trial in own)
    return "sweep" if not run.clones and (lacks_values or has_more_trials) else "compare"


def total_steps(run: RunReader) -> int | None:
    """Policy steps of all trials; None where the number of trials is not known beforehand, as in a grid."""
    if run.config is None:
        return None
    count = _trained_trials(run, run.config)
    return None if count is None else count * run.config.train.steps


def _trained_trials(run: RunReader, config: ExperimentConfig) -> int | None:
    kind, references = kind_of(run), len(REFERENCES) - 1 if config.tune.references else 0
    if kind == "train":
        return 1
    if kind == "compare":
        return len(config.tune.objectives) * config.tune.trials_per_objective + references
    if run.status.state == "finished":
        return sum(objective != WARM_START for objective in run.trials().values())
    return len(config.tune.objectives) * config.tune.samples + references if config.tune.search == "random" else None
