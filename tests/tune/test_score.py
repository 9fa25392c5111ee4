from __future__ import annotations

from pathlib import Path

import pytest

from maxent_ray.errors import ConfigError
from maxent_ray.tune.comparison import run_comparison
from maxent_ray.tune.score import check_score
from maxent_ray.tune.sweep import run_sweep
from tests.train.tiny import tiny_config

UNKNOWN = {
    "task.name": "reasoning_gym:chain_sum",
    "task.kwargs": {"size": 40, "min_terms": 2},
    "policy.model": "embedded:countdown",
}


def test_a_score_that_is_not_known_is_refused_before_anything_starts(tmp_path: Path) -> None:
    config = tiny_config(UNKNOWN)
    unknown = "tune.metric is 'coverage', and task 'reasoning_gym:chain_sum' does not list the modes of its prompts"
    with pytest.raises(ConfigError, match=unknown):
        run_comparison(config, name="unknown", results=tmp_path)
    for settings in ({"tune.search": "optuna"}, {"tune.scheduler": "asha", "tune.grace_period": 1}):
        with pytest.raises(ConfigError, match=unknown):
            run_sweep(tiny_config({**UNKNOWN, **settings}), name="unknown", results=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("metric", ["distinct", "pass_rate", "mean"])
def test_other_metrics_are_always_known(metric: str) -> None:
    check_score(tiny_config({**UNKNOWN, "tune.metric": metric}))


def test_coverage_is_known_where_modes_are_listed() -> None:
    check_score(tiny_config())
    check_score(tiny_config({"task.name": "reasoning_gym:lcm", "task.kwargs": {"size": 300}}))
