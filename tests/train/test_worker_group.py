"""Ranks as actors on a real local cluster: they agree at every step, and a reset leaves nothing behind."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import load_config
from maxent_ray.train.step_record import StepRecord
from maxent_ray.train.worker_group import WorkerGroup

pytestmark = pytest.mark.ray

TINY = [
    "task.name=countdown_small",
    "grpo.prompts_per_step=4",
    "grpo.group_size=4",
    "evaluation.prompts=8",
    "train.cpus_per_worker=0.25",
]
BACKPROP = ["controller.objective={type: truncated_backprop, unroll: {steps: 2, groups: 1}}"]


def tiny(*overrides: str) -> ExperimentConfig:
    return load_config(overrides=[*TINY, *overrides])


def learned(row: StepRecord) -> tuple[float, ...]:
    """What does not depend on the clock."""
    return row.step, row.rank, row.tau, row.beta, row.version, row.reward, row.entropy, row.kl, row.loss


def without_times(rows: list[StepRecord]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.to_dict().items() if not k.startswith("seconds")} for row in rows]


def side_by_side(*runs: tuple[ExperimentConfig, str]) -> list[WorkerGroup]:
    """Groups that start at the same time: each waits for processes that load libraries on one core."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda run: WorkerGroup(*run), runs))


def of_ranks(ranks: int) -> ExperimentConfig:
    return tiny(f"train.num_workers={ranks}", *BACKPROP)


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def group(request: pytest.FixtureRequest, ray_cluster: None) -> Iterator[WorkerGroup]:
    """Processes that load all libraries once, for one run after the other, as in a Tune trial."""
    made = WorkerGroup(of_ranks(request.param), f"ranks-{uuid.uuid4().hex[:12]}")
    yield made
    made.close()


def test_all_ranks_train_every_step_with_the_same_coefficients(
    group: WorkerGroup, run_id: str
) -> None:
    ranks = len(group._ranks)
    group.reset(of_ranks(ranks), run_id)
    rows = group.run(6)
    versions = [decision["version"] for decision in group.decisions()]
    by_step = defaultdict(set)
    for row in rows:
        by_step[row.step].add((row.tau, row.beta, row.version))
    assert len(rows) == 6 * ranks
    assert [len(by_step[step]) for step in range(6)] == [1] * 6
    assert len({tau for values in by_step.values() for tau, _, _ in values}) == 5  # they do move
    assert versions == [1, 2, 3, 4, 5, 6]  # the two rounds that were on their way included


def test_a_reset_leaves_nothing_behind_and_a_loaded_state_goes_on(ray_cluster: None, run_id: str) -> None:
    """After a reset every number is that of new workers, parameters and controller included."""
    first = tiny("train.seed=1", "controller.tau=3", "grpo.learning_rate=0.01")
    second = tiny("train.seed=2", "controller.tau=0.9", *BACKPROP)
    fresh, reused = side_by_side((second, f"{run_id}-fresh"), (first, run_id))
    try:
        reused.run(3)
        reused.reset(second, f"{run_id}-again")
        expected = fresh.run(4)
        assert without_times(reused.run(4)) == without_times(expected)
        assert reused.evaluate() == fresh.evaluate()

        state = fresh.state_dict()
        expected = fresh.run(3)
        reused.reset(second, f"{run_id}-loaded")
        reused.load_state_dict(state)
        assert [learned(row) for row in reused.run(3)] == [learned(row) for row in expected]
        assert reused.evaluate().metrics == fresh.evaluate().metrics
    finally:
        fresh.close()
        reused.close()


def test_ranks_that_share_parameters_evaluate_and_save_together(ray_cluster: None, run_id: str) -> None:
    divided, whole = (tiny("train.num_workers=2", f"train.fully_shard={flag}") for flag in (True, False))
    group = WorkerGroup(divided, run_id)
    try:
        group.run(2)
        state, evaluation = group.state_dict(), group.evaluate()
        expected = group.run(1)
        group.reset(whole, f"{run_id}-whole")
        group.load_state_dict(state)
        assert group.evaluate() == evaluation
        for row, true in zip(group.run(1), expected, strict=True):
            assert learned(row) == pytest.approx(learned(true), rel=1e-4)
    finally:
        group.close()


@pytest.mark.slow
def test_a_state_of_another_objective_can_be_taken_over(ray_cluster: None, run_id: str) -> None:
    """What a clone in a tournament does: the donor's state, the other objective's settings."""
    donor, recipient = side_by_side((tiny(), f"{run_id}-donor"), (tiny(*BACKPROP), f"{run_id}-recipient"))
    try:
        last = donor.run(4)[-1]
        recipient.load_state_dict(donor.state_dict())
        rows = recipient.run(4)
    finally:
        donor.close()
        recipient.close()
    assert rows[0].step == 4
    assert {row.objective for row in rows} == {"truncated_backprop"}
    assert rows[-1].version == 6  # two rounds behind step 7, and no round lost
    assert last.objective == "analytic"
