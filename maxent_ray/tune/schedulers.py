"""Population-based training whose clones stay inside their objective, repeatable for a seed.

Ray's ``PopulationBasedTraining`` copies the donor's whole configuration (the objective's label, too), takes
chance from global generators, and decides while the last trial's result arrives. Here

* a trial's *stratum* is its objective (``mode="stratified"``) or the whole population (``mode="tournament"``,
  in which a clone takes over its donor's objective);
* in synchronous mode a stratum is perturbed when all its unfinished trials are **paused** at the boundary, so
  that every checkpoint is on disk and no decision depends on who came last; other strata and the references
  train on meanwhile;
* chance is a function of (seed, step, recipient), so that an interrupted run resumes with the decisions it
  would have made, and ties are broken by name.
"""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler

from maxent_ray.config import PopulationSettings
from maxent_ray.errors import ConfigError
from maxent_ray.tune.member import RESULT_KEYS, Member, ReadMember, ResultKeys
from maxent_ray.tune.scheduling import Exploit
from maxent_ray.tune.search_space import SearchSpace, ray_domains

EXPLORE_TRIES = 100
"""Perturbations that are tried until their values are valid together."""

Quantiles = tuple[list[Trial], list[Trial]]


class StratifiedPBT(PopulationBasedTraining):
    """Scheduler that exploits and explores inside strata.

    Args:
        settings: ``config.tune``.
        space: What is perturbed, and the bounds that perturbed values stay in.
        seed: Same seed, same scores: same lineage.
        on_exploit: Called with every exploit.
        read: Reads what a trial is from its ``trial.config``.
        keys: Of its results.

    Trials whose objective is a reference belong to no stratum: they train to their end and are never cloned.
    A score that is not finite ranks last and is never a donor's; a donor's score is above its recipient's.
    """

    def __init__(
        self,
        settings: PopulationSettings,
        space: SearchSpace,
        *,
        seed: int,
        on_exploit: Callable[[Exploit], None],
        read: ReadMember,
        keys: ResultKeys = RESULT_KEYS,
    ) -> None:
        super().__init__(
            time_attr=keys.time,
            metric=keys.score,
            mode="max",
            perturbation_interval=settings.perturbation_interval,
            hyperparam_mutations=ray_domains(space),
            custom_explore_fn=space.clamp,
            quantile_fraction=settings.quantile_fraction,
            resample_probability=settings.resample_probability,
            synch=settings.synchronous,
            log_config=False,
        )
        self._mixing: Literal["stratified", "tournament"] = settings.mode
        self._space = space
        self._seed = seed
        self._on_exploit = on_exploit
        self._member = read
        self._keys = keys
        self._operations: dict[str, str] = {}

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Add a trial, with the progress of its checkpoint if it has one after an interruption or a failure."""
        is_new = trial not in self._trial_state
        super().on_trial_add(tune_controller, trial)
        checkpoint = trial.latest_checkpoint_result
        if checkpoint is None or self._spec(trial).is_reference:
            return
        state, steps = self._trial_state[trial], checkpoint.metrics[self._keys.time]
        self._save_trial_state(state, steps, checkpoint.metrics, trial)
        state.last_perturbation_time = steps - steps % self._perturbation_interval
        if is_new and self._synch and not trial.is_finished() and steps >= self._boundary(trial):
            trial.set_status(Trial.PAUSED)  # it waits for its stratum; Tune restores it as pending

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Continue, or (synchronous mode) pause at the boundary."""
        if self._spec(trial).is_reference:
            return str(TrialScheduler.CONTINUE)
        if not self._synch:
            return str(super().on_trial_result(tune_controller, trial, result))
        kept = {key: value for key, value in result.items() if key not in self._keys.records}
        self._save_trial_state(self._trial_state[trial], result[self._keys.time], kept, trial)
        at_boundary = result[self._keys.time] >= self._boundary(trial)
        return str(TrialScheduler.PAUSE if at_boundary else TrialScheduler.CONTINUE)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Perturb every stratum that has come together, then pick the trial that is furthest behind."""
        trials = tune_controller.get_trials()
        if self._synch:
            for stratum in self._strata([t for t in trials if not t.is_finished()]):
                if all(self._waits(trial) for trial in stratum):
                    self._perturb(tune_controller, stratum)
        candidates = [t for t in trials if t.status in (Trial.PENDING, Trial.PAUSED) and not self._waits(t)]
        return min(candidates, key=self._priority, default=None)

    def _perturb(self, tune_controller: Any, stratum: list[Trial]) -> None:
        """Exploit and explore in one stratum; donors first, because exploiting needs their checkpoints."""
        first = min(self._spec(trial).round for trial in stratum)
        stratum = [trial for trial in stratum if self._spec(trial).round == first]
        lower, upper = self._split(stratum)
        rest = [trial for trial in stratum if trial not in lower and trial not in upper]
        for trial in upper + rest + lower:
            self._trial_state[trial].last_perturbation_time = self._trial_state[trial].last_train_time
            self._checkpoint_or_exploit(trial, tune_controller, upper, lower)
        for trial in stratum:
            trial.set_config(self._spec(trial).at_round(first + 1).to_config())
            _mark_for_saving(tune_controller, trial)

    def _quantiles(self) -> Quantiles:
        """Recipients and donors of all strata."""
        scored = [t for t, state in self._trial_state.items() if state.last_score is not None and not t.is_finished()]
        halves = [self._split(stratum) for stratum in self._strata(scored)]
        return [t for lower, _ in halves for t in lower], [t for _, upper in halves for t in upper]

    def _checkpoint_or_exploit(
        self, trial: Trial, tune_controller: Any, upper_quantile: list[Trial], lower_quantile: list[Trial]
    ) -> None:
        """Override: the donor is of the trial's own stratum, and scores higher."""
        if trial in lower_quantile:
            donors = [t for t in upper_quantile if self._stratum(t) == self._stratum(trial)]
            donors = sorted((t for t in donors if self._rank(t)[0] > self._rank(trial)[0]), key=self._rank)
            if not donors:
                lower_quantile = []
            else:
                upper_quantile = [donors[int(self._rng(trial, "donor").integers(len(donors)))]]
        super()._checkpoint_or_exploit(trial, tune_controller, upper_quantile, lower_quantile)

    def _get_new_config(self, trial: Trial, trial_to_clone: Trial) -> tuple[dict[str, Any], dict[str, str]]:
        """The donor's values, perturbed inside their bounds, under the recipient's own name."""
        recipient, donor = self._spec(trial), self._spec(trial_to_clone)
        rng = self._rng(trial, "explore")
        for attempt in range(EXPLORE_TRIES):
            explored = self._space.explore(donor.values, rng, self._resample_probability)
            clone = recipient.cloned_from(donor, explored.values)
            try:
                clone.check()
                break
            except ConfigError:  # values that are valid one by one need not be so together
                if attempt + 1 == EXPLORE_TRIES:
                    raise
        assert self._mixing == "tournament" or clone.objective == recipient.objective
        self._operations = explored.operations
        return clone.to_config(), explored.operations

    def _exploit(self, tune_controller: Any, trial: Trial, trial_to_clone: Trial) -> None:
        """Exploit, and report it, under each of the trial's names."""
        recipient, donor = self._spec(trial), self._spec(trial_to_clone)
        state, donor_state = self._trial_state[trial], self._trial_state[trial_to_clone]
        step, score = int(state.last_train_time), state.last_score
        super()._exploit(tune_controller, trial, trial_to_clone)
        _mark_for_saving(tune_controller, trial)
        clone = self._spec(trial)
        for own, other in zip(recipient.names, donor.names, strict=True):
            exploit = Exploit(
                step=step,
                recipient=own,
                donor=other,
                recipient_objective=recipient.objective,
                donor_objective=donor.objective,
                new_objective=clone.objective,
                score_recipient=score,
                score_donor=donor_state.last_score,
                old=dict(recipient.values),
                new=dict(clone.values),
                operations=dict(self._operations),
            )
            self._on_exploit(exploit)

    def _spec(self, trial: Trial) -> Member:
        return self._member(trial.config)

    def _strata(self, trials: list[Trial]) -> list[list[Trial]]:
        """The trials of each stratum, in order of its name; references are in none."""
        strata: dict[str, list[Trial]] = defaultdict(list)
        for trial in trials:
            if not self._spec(trial).is_reference:
                strata[self._stratum(trial)].append(trial)
        return [strata[name] for name in sorted(strata)]

    def _stratum(self, trial: Trial) -> str:
        return self._spec(trial).objective if self._mixing == "stratified" else ""

    def _split(self, stratum: list[Trial]) -> Quantiles:
        """The lowest and the highest of one stratum; of fewer than two trials, none."""
        ordered = sorted(stratum, key=self._rank)
        count = min(math.ceil(len(ordered) * self._quantile_fraction), len(ordered) // 2)
        return ordered[:count], [t for t in ordered[len(ordered) - count :] if self._rank(t)[0] > -math.inf]

    def _rank(self, trial: Trial) -> tuple[float, str]:
        score = self._trial_state[trial].last_score
        return (score if score is not None and math.isfinite(score) else -math.inf), self._spec(trial).trial

    def _waits(self, trial: Trial) -> bool:
        """True when the trial has stopped at the boundary, its checkpoint written."""
        if not self._synch or self._spec(trial).is_reference or trial.status != Trial.PAUSED:
            return False
        return bool(self._trial_state[trial].last_train_time >= self._boundary(trial))

    def _boundary(self, trial: Trial) -> int:
        return int(self._perturbation_interval * (self._spec(trial).round + 1))

    def _priority(self, trial: Trial) -> tuple[bool, int, str]:
        """Sort key: the population in order of progress, then references."""
        spec = self._spec(trial)
        return spec.is_reference, int(self._trial_state[trial].last_train_time), spec.trial

    def _rng(self, trial: Trial, purpose: str) -> np.random.Generator:
        step, name = int(self._trial_state[trial].last_train_time), self._spec(trial).trial
        return np.random.default_rng((self._seed, step, zlib.crc32(f"{purpose} {name}".encode())))


def _mark_for_saving(tune_controller: Any, trial: Trial) -> None:
    """Mark the whole trial for Tune's next save of its state.

    Left to itself it writes a paused trial again only once that runs, and an exploited one from what it cached before:
    the donor's settings with the recipient's own checkpoint. An interruption would undo the exploit, or half of it.
    """
    trial.run_metadata.invalidate_cache()
    tune_controller._tune_controller._mark_trial_to_checkpoint(trial)
