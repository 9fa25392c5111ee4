"""Ranks of a process group of gloo, each in a process of its own."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def run_ranks(main: Callable[..., None], ranks: int, folder: Path, *arguments: object) -> list[Any]:
    """Run ``main(rank, folder, *arguments)`` on every rank, and wait for all.

    Args:
        main: A function of a test module; what it is to give back it writes with :func:`give_back`.
        ranks: How many.
        folder: For the rendezvous and the results.
        arguments: Handed over as texts.
    """
    call = f"import sys; from pathlib import Path; from {main.__module__} import {main.__name__} as main; "
    call += "main(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, "-c", call, str(rank), str(folder), *map(str, arguments)], env=environment)
        for rank in range(ranks)
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0] * ranks
    finally:
        for process in processes:  # of a rank that failed the others would wait on
            process.kill()
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(ranks)]


def join(rank: int, ranks: int, folder: Path) -> None:
    """Meet the other ranks."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=ranks)


def give_back(rank: int, folder: Path, result: Any) -> None:
    """Hand a result over, and leave when all ranks have."""
    import torch.distributed as dist

    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(result))
    dist.barrier()
    dist.destroy_process_group()
