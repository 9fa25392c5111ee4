"""Ranks as processes that import the libraries once, for all of them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

TIMEOUT_S = 200


def run_ranks(main: Callable[..., None], world_size: int, folder: Path) -> list[Any]:
    """Run ``main(rank, world_size, folder)`` in a process for each rank; returns what it saved as ``rank<r>.pt``."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([main.__module__])
    processes = [context.Process(target=main, args=(rank, world_size, str(folder))) for rank in range(world_size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=TIMEOUT_S)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0] * world_size
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(world_size)]
