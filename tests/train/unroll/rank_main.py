"""What each process of ``test_rank_sync`` does: shared unrolls in every mode, and some that one rank fails in."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.train.unroll.unroll_problem import TooLarge, UnrollProblem, unroll_problem

MODES: list[dict[str, Any]] = [
    {"mode": "reverse"},
    {"mode": "reverse", "checkpoint": True},
    {"mode": "forward"},
    {"mode": "first_order"},
]


def main(rank: int, world_size: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world_size)
    problem = unroll_problem().share(rank, world_size)
    results = {
        "values": [astuple(unrolled(problem, world_size, **mode).sensitivity) for mode in MODES],
        "alone": astuple(unrolled(problem, 1, **MODES[0]).sensitivity),
        "failures": [one_rank_fails(problem, rank, world_size, passes) for passes in range(4)],
        "auto": one_rank_fails(problem, rank, world_size, 1, mode="auto"),
    }
    torch.save(results, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


def unrolled(problem: UnrollProblem, world_size: int, **meta: Any) -> Any:
    groups = 4 // world_size
    settings = {"all_reduce": True, "groups": groups, **meta}
    return problem.compute(problem.hypergradients(world_size, **settings))


def one_rank_fails(
    problem: UnrollProblem, rank: int, world_size: int, passes: int, **meta: Any
) -> tuple[bool, int, tuple[float, ...]]:
    """Rank 1 runs out of memory after so many forward passes; then it has enough again.

    Returns:
        Whether there were gradients, the count of failures, and the values of the second try.
    """
    settings = {"all_reduce": True, "groups": 4 // world_size, **meta}
    hypergradients = problem.hypergradients(world_size, **settings)
    hook = TooLarge(problem.model, passes if rank == 1 else 10**6)
    first = problem.compute(hypergradients)
    hook.remove()
    second = problem.compute(hypergradients)
    return first is not None, hypergradients.failures, astuple(second.sensitivity)
