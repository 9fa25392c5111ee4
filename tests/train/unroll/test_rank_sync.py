"""Unrolls shared by ranks, in processes joined by gloo: the whole batch's result, and nobody left waiting."""

from __future__ import annotations

from dataclasses import astuple, fields
from typing import Any

import pytest

from maxent_ray.core.objectives import Sensitivity
from tests.train.rank_processes import run_ranks
from tests.train.unroll.rank_main import MODES, main
from tests.train.unroll.unroll_problem import unroll_problem

VALUES = slice(0, 6)
"""H, KL and the four derivatives."""
TOKENS = [field.name for field in fields(Sensitivity)].index("tokens")


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank found."""
    return run_ranks(main, request.param, tmp_path_factory.mktemp("ranks"))


def whole(**meta: Any) -> tuple[float, ...]:
    problem = unroll_problem()
    gradients = problem.compute(problem.hypergradients(**meta))
    return astuple(gradients.sensitivity)


def test_every_rank_has_the_result_of_one_rank_on_the_whole_batch(ranks: list[dict[str, Any]]) -> None:
    for index, mode in enumerate(MODES):
        expected = whole(**mode)
        for rank in ranks:
            assert rank["values"][index][VALUES] == pytest.approx(expected[VALUES], rel=1e-6)
            assert rank["values"][index][VALUES] == ranks[0]["values"][index][VALUES]  # to the last bit
    assert sum(rank["values"][0][TOKENS] for rank in ranks) == expected[TOKENS]


def test_ranks_by_themselves_have_results_of_their_own(ranks: list[dict[str, Any]]) -> None:
    assert len({rank["alone"][VALUES] for rank in ranks}) == len(ranks)


def test_when_one_rank_runs_out_of_memory_no_rank_has_gradients_and_no_rank_hangs(ranks: list[dict[str, Any]]) -> None:
    """Rank 1 fails in its 1st, 2nd … pass: two inner steps and the outer one; after three passes nothing is left."""
    for rank in ranks:
        there = [first for first, _, _ in rank["failures"]]
        assert there == [False, False, False, True]
        assert [failures for _, failures, _ in rank["failures"]] == [1, 1, 1, 0]


def test_the_ranks_stay_in_step_afterwards(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        for _, _, second in rank["failures"]:
            assert second == rank["values"][0]


def test_auto_chooses_the_same_for_all_and_lowers_all_of_them(ranks: list[dict[str, Any]]) -> None:
    """Reverse with checkpoints after reverse failed on one rank: the same numbers to rounding."""
    for rank in ranks:
        first, failures, second = rank["auto"]
        assert (first, failures) == (False, 1)
        assert second[VALUES] == pytest.approx(rank["values"][0][VALUES], rel=1e-9)
