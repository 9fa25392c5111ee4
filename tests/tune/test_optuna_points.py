from __future__ import annotations

import importlib.util
import math

import pytest

from maxent_ray.config import Choice, LogUniform, Uniform
from maxent_ray.errors import ConfigError
from maxent_ray.tune import optuna_points
from maxent_ray.tune.optuna_points import Known, points_in, propose, require_optuna
from maxent_ray.tune.search_space import SearchKey, SearchSpace

pytest.importorskip("optuna")
KL, ENTROPY, RULE = "controller.target_kl", "controller.target_entropy_fraction", "controller.tau_rule"
INTERVALS = SearchSpace(
    (
        SearchKey(ENTROPY, Uniform(low=0.85, high=0.97), False),
        SearchKey(KL, LogUniform(low=0.03, high=0.15), False),
        SearchKey("controller.update_interval", Uniform(low=1, high=3), True),
    )
)
CHOICES = SearchSpace(
    (
        SearchKey(KL, Choice(values=(0.03, 0.05, 0.1)), False),
        SearchKey(RULE, Choice(values=({"type": "pi"}, {"type": "adam"})), False),
    )
)


def search(space: SearchSpace, samples: int, seed: int = 0, best: float = 0.05) -> list[dict[str, object]]:
    """A search whose points are the better, the nearer their KL* is to ``best``."""
    known: list[Known] = []
    for _ in range(points_in(space, samples)):
        point = propose(space, known, [each.point for each in known], seed=seed, samples=samples)
        known.append(Known(point, -abs(math.log(float(point[KL]) / best))))
    return [dict(each.point) for each in known]


def test_points_are_in_their_domains_and_repeatable_for_a_seed() -> None:
    points = search(INTERVALS, 6)
    assert points == search(INTERVALS, 6) != search(INTERVALS, 6, seed=1)
    for point in points:
        assert 0.85 <= float(str(point[ENTROPY])) <= 0.97 and 0.03 <= float(str(point[KL])) <= 0.15
        assert point["controller.update_interval"] in (1, 2, 3)


def test_of_choices_every_point_is_proposed_once_even_where_there_are_fewer_than_samples() -> None:
    points = search(CHOICES, 50)
    assert len(points) == 6
    assert sorted((point[KL], str(point[RULE])) for point in points) == sorted(
        (kl, str({"type": rule})) for kl in (0.03, 0.05, 0.1) for rule in ("pi", "adam")
    )


def test_later_points_are_nearer_to_the_best() -> None:
    def distance(points: list[dict[str, object]]) -> float:
        return sum(abs(math.log(float(str(point[KL])) / 0.05)) for point in points) / len(points)

    points = [search(INTERVALS, 30, seed=seed) for seed in range(3)]
    assert sum(distance(each[-10:]) for each in points) < 0.7 * sum(distance(each[:10]) for each in points)


def test_a_proposal_depends_on_results_and_on_nothing_before() -> None:
    points = search(INTERVALS, 8)
    known = [Known(point, -abs(math.log(float(str(point[KL])) / 0.05))) for point in points[:5]]
    assert propose(INTERVALS, known, points[:5], seed=0, samples=8) == points[5]


def test_without_optuna_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_optuna()
    monkeypatch.setattr(optuna_points, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'maxent-ray\[optuna\]'"):
        require_optuna()
    assert importlib.util.find_spec("optuna") is not None
