"""Points of a sweep that Optuna proposes from the results of earlier ones.

A proposal is a function of (seed, index, results so far): a study is built anew for each, so that nothing of Optuna's
is saved, and a resumed sweep continues with the proposals that it would have made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from maxent_ray.config import Choice, LogUniform
from maxent_ray.errors import ConfigError
from maxent_ray.tune.member import RESULT_KEYS
from maxent_ray.tune.search_space import SearchKey, SearchSpace

TRIES = 20
"""Proposals for one point that were made before, until one is drawn instead."""
STARTUP_SHARE, STARTUP_MOST = 1 / 3, 10
"""Share of the points that are drawn before Optuna learns from them, and how many at most (its own default)."""

Point = Mapping[str, Any]


class Known(NamedTuple):
    """A point that has been trained, and its value."""

    point: Point
    value: float


def require_optuna() -> None:
    """Check that Optuna is installed.

    Raises:
        ConfigError: it is not.
    """
    if find_spec("optuna") is None:
        raise ConfigError("tune.search is 'optuna', which is not installed: pip install 'maxent-ray[optuna]'")


def points_in(space: SearchSpace, samples: int) -> int:
    """Number of points to propose: ``samples``, or all that there are if those are fewer.

    Example:
        >>> from maxent_ray.config import Choice
        >>> points_in(SearchSpace((SearchKey("controller.target_kl", Choice(values=(0.03, 0.1)), False),)), 8)
        2
    """
    if all(isinstance(key.domain, Choice) for key in space.keys):
        return min(samples, len(space.grid(1)))
    return samples


def propose(
    space: SearchSpace, known: Sequence[Known], made: Sequence[Point], *, seed: int, samples: int
) -> dict[str, Any]:
    """Propose the next point, one that was not proposed before.

    Args:
        space: Of the sweep.
        known: Results so far; a higher value is better.
        made: Proposals so far.
        seed: Of the sweep.
        samples: Points that it will have.
    """
    for attempt in range(TRIES):
        point = _ask(space, known, seed=_seed(seed, len(made), attempt), startup=_startup(samples))
        if point not in made:
            return point
    rng = np.random.default_rng((seed, len(made)))
    while (point := space.draw(rng)) in made:
        pass
    return point


def _ask(space: SearchSpace, known: Sequence[Known], *, seed: int, startup: int) -> dict[str, Any]:
    """One proposal of Optuna's tree-structured Parzen estimator."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line for every study
    try:
        search = OptunaSearch(
            {key.name: _distribution(key) for key in space.keys},
            metric=RESULT_KEYS.score,
            mode="max",
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup),
        )
        for point, value in known:
            search.add_evaluated_point({key.name: _encoded(key, point[key.name]) for key in space.keys}, value)
        proposed = search.suggest("next")
    finally:
        optuna.logging.set_verbosity(verbosity)
    assert proposed is not None
    return {key.name: _decoded(key, proposed[key.name]) for key in space.keys}


def _distribution(key: SearchKey) -> Any:
    """Optuna's distribution of a domain; of a choice the places in its list, as values may be whole rules."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(key.domain, Choice):
        return CategoricalDistribution(range(len(key.domain.values)))
    log = isinstance(key.domain, LogUniform)
    if key.integer:
        return IntDistribution(key.clamp(key.domain.low), key.clamp(key.domain.high), log=log)
    return FloatDistribution(key.domain.low, key.domain.high, log=log)


def _encoded(key: SearchKey, value: Any) -> Any:
    return key.domain.values.index(value) if isinstance(key.domain, Choice) else value


def _decoded(key: SearchKey, value: Any) -> Any:
    return key.domain.values[value] if isinstance(key.domain, Choice) else key.clamp(value)


def _startup(samples: int) -> int:
    return max(1, min(STARTUP_MOST, round(STARTUP_SHARE * samples)))


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
