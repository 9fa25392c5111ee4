"""Trials of a sweep whose points are proposed one after another, while earlier ones train."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.search import Searcher, SearchGenerator

from maxent_ray.config import ExperimentConfig
from maxent_ray.tune.member import RESULT_KEYS
from maxent_ray.tune.optuna_points import Known, points_in, propose
from maxent_ray.tune.search_space import SearchSpace
from maxent_ray.tune.trial_spec import TrialSpec, settings_json, variants


class ProposedTrials(Searcher):
    """Search algorithm that trains every objective at each point that Optuna proposes, then the references.

    The value of a point is the mean score of the objectives, known once all of them have ended; a point with a trial
    that failed, or whose score is not finite, has none.

    Args:
        config: The experiment.
        space: Of the sweep.
        references: Trained after the last point.
        recorded: Trials that an interrupted run has planned, as ``trials.jsonl`` has them.
        on_plan: Called with the trials of every new point.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        space: SearchSpace,
        references: Sequence[TrialSpec],
        *,
        recorded: Iterable[Mapping[str, Any]] = (),
        on_plan: Callable[[Iterable[TrialSpec]], None],
    ) -> None:
        super().__init__(metric=RESULT_KEYS.score, mode="max")
        self._config, self._space = config, space
        self._on_plan = on_plan
        self._references = list(references)
        self._samples = points_in(space, config.tune.samples)
        settings = settings_json(config)
        planned = [TrialSpec(each["trial"], each["objective"], settings, each["settings"]) for each in recorded]
        self._queue = [spec for spec in planned if not spec.is_reference]
        self._points = list({_index(spec): dict(spec.values) for spec in self._queue}.values())
        self._names: dict[str, TrialSpec] = {}
        self._scores: dict[int, list[float]] = {}

    @property
    def planned(self) -> list[TrialSpec]:
        """Trials that are planned so far and were not handed out, the references included."""
        return [*self._queue, *self._references]

    @property
    def size(self) -> int:
        """Trials of the whole sweep."""
        return self._samples * len(self._config.tune.objectives) + len(self._references)

    def resume(self, trials: Iterable[Trial]) -> None:
        """Take up what Tune has saved: these trials are not handed out again."""
        for trial in trials:
            self._names[trial.trial_id] = spec = TrialSpec.from_config(trial.config)
            self._queue = [each for each in self._queue if each.trial != spec.trial]
            self._references = [each for each in self._references if each.trial != spec.trial]
            if trial.status == Trial.TERMINATED:
                self.on_trial_complete(trial.trial_id, trial.last_result)

    def suggest(self, trial_id: str) -> Any:
        """Hand out the next trial."""
        if not self._queue and len(self._points) < self._samples:
            self._queue = self._next_point()
        trials = self._queue or self._references
        if not trials:
            return Searcher.FINISHED
        self._names[trial_id] = spec = trials.pop(0)
        return spec.to_config()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note the last score of a trial that has ended, by itself or early."""
        spec, score = self._names[trial_id], (result or {}).get(RESULT_KEYS.score, math.nan)
        if not spec.is_reference and not error:
            self._scores.setdefault(_index(spec), []).append(score)

    def _next_point(self) -> list[TrialSpec]:
        seed, index = self._config.train.seed, len(self._points)
        point = propose(self._space, self._known(), self._points, seed=seed, samples=self._samples)
        self._points.append(point)
        specs = variants(self._config, [point], first=index)
        self._on_plan(specs)
        return specs

    def _known(self) -> list[Known]:
        """Values of the points that all objectives have trained at, in the order of their proposal."""
        complete = len(self._config.tune.objectives)
        found = ((i, fmean(scores)) for i, scores in sorted(self._scores.items()) if len(scores) == complete)
        return [Known(self._points[i], value) for i, value in found if math.isfinite(value)]


class ProposalGenerator(SearchGenerator):
    """Ray's generator of a searcher's trials, which leaves it to us to resume: it would save its folder's path."""

    def save_to_dir(self, dirpath: str, session_str: str = "", **others: Any) -> None:
        """Save nothing: the records and Tune's trials are all that a search resumes from."""

    def has_checkpoint(self, dirpath: str) -> bool:
        """Never."""
        return False


def _index(spec: TrialSpec) -> int:
    """Number of the point that a trial is trained at."""
    return int(spec.trial.rpartition("-")[2])
