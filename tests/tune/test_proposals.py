from __future__ import annotations

import json
import math
from typing import Any

import pytest

from maxent_ray.config.loading import load_config
from maxent_ray.tune.proposals import ProposedTrials
from maxent_ray.tune.search_space import build_search_space
from maxent_ray.tune.sweep import swept_space
from maxent_ray.tune.trial_spec import TrialSpec, references
from tests.tune.fake_tune import FakeTrial

pytest.importorskip("optuna")
CONFIG = load_config(
    overrides=[
        "tune.search=optuna",
        "tune.samples=4",
        "tune.objectives=[analytic,truncated_backprop]",
        "tune.search_space={controller.target_kl: {type: loguniform, low: 0.03, high: 0.15}}",
    ]
)
SPACE = swept_space(CONFIG, build_search_space(CONFIG))


def search(planned: list[TrialSpec], recorded: list[dict[str, Any]] | None = None) -> ProposedTrials:
    others = references(CONFIG, SPACE)
    return ProposedTrials(CONFIG, SPACE, others, recorded=recorded or (), on_plan=planned.extend)


def score(spec: TrialSpec) -> float:
    return float(spec.values["controller.target_kl"])


def run(proposed: ProposedTrials, count: int, start: int = 0) -> list[TrialSpec]:
    """Train trials one after another."""
    specs = []
    for number in range(start, start + count):
        config = proposed.suggest(f"id-{number}")
        spec = TrialSpec.from_config(config)
        proposed.on_trial_complete(f"id-{number}", {"score": score(spec)})
        specs.append(spec)
    return specs


def test_every_objective_trains_at_each_point_and_references_come_last() -> None:
    planned: list[TrialSpec] = []
    proposed = search(planned)
    specs = run(proposed, proposed.size)
    assert [spec.trial for spec in specs[:4]] == [f"{o}-{i}" for i in (0, 1) for o in CONFIG.tune.objectives]
    assert specs[0].values == specs[1].values != specs[2].values
    assert [spec.trial for spec in specs[8:]] == ["warm_start", "grpo", "fixed"]
    assert proposed.suggest("one more") == "FINISHED"
    assert planned == specs[:8], "references are planned beforehand"


def test_the_value_of_a_point_is_the_mean_of_its_objectives_and_a_failure_has_none() -> None:
    proposed = search([])
    for number in range(6):
        proposed.suggest(f"id-{number}")
    proposed.on_trial_complete("id-0", {"score": 0.2})
    assert proposed._known() == []
    proposed.on_trial_complete("id-1", {"score": 0.4})
    proposed.on_trial_complete("id-2", error=True)
    proposed.on_trial_complete("id-3", {"score": 0.4})
    proposed.on_trial_complete("id-4", {"score": math.nan})
    proposed.on_trial_complete("id-5", {"score": 0.4})
    assert [known.value for known in proposed._known()] == [pytest.approx(0.3)]


def test_an_interrupted_search_continues_with_the_points_that_it_would_have_had() -> None:
    whole: list[TrialSpec] = []
    run(search(whole), 8)
    planned: list[TrialSpec] = []
    first = run(search(planned), 5)  # the sixth is planned, and Tune has not saved it
    recorded = [
        {"trial": spec.trial, "objective": spec.objective, "settings": json.loads(json.dumps(spec.values))}
        for spec in planned
    ]
    resumed = search(planned, recorded)
    saved = [FakeTrial(spec.to_config(), status="TERMINATED") for spec in first]
    for number, trial in enumerate(saved):
        trial.trial_id = f"id-{number}"
        trial.last_result = {"score": score(first[number])}  # type: ignore[attr-defined]
    resumed.resume(saved)  # type: ignore[arg-type]
    second = run(resumed, 3, start=5)
    assert [(s.trial, dict(s.values)) for s in (*first, *second)] == [(s.trial, dict(s.values)) for s in whole]
