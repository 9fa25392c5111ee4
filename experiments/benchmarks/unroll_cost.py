"""Time and memory of one unroll method.

Time is a ratio: each timed call stands between two calls of the plain steps, P A P B P …, and is divided by the mean
of its neighbours, so that a machine that slows down slows both. With one thread on a CPU it is the processor time of
this process, which other processes do not change; else wall-clock time. Memory is taken in a separate process
for each (method, K): the peak of the process, and how far that peak lies above what model, batch and loaded code need.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch
from process_memory import status_bytes
from unroll_methods import PLAIN, run_method
from unroll_problem import UnrollProblem

ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Makes glibc return freed memory at once, so that resident memory is live memory. Other systems ignore it."""


@dataclass(frozen=True)
class Time:
    """Cost of a method at one K."""

    seconds: float
    """Median of one call."""
    ratio: float
    """Median of the paired ratios to the plain steps."""
    low: float
    high: float
    """Smallest and largest of these ratios."""


@dataclass(frozen=True)
class Memory:
    """Peak memory of a method at one K, in bytes."""

    process: int
    """Peak of the whole process (CPU: resident; CUDA: allocated on the device)."""
    unroll: int
    """Increase during the unroll, without model, batch and loaded code."""


def time_methods(problem: UnrollProblem, methods: Sequence[str], steps: int, rounds: int) -> dict[str, Time]:
    """Time every method at one K against the plain steps on either side of it."""
    for method in (PLAIN, *methods):
        run_method(problem, method, 1)
    gc.collect()
    gc.freeze()  # what is there stays: collecting between calls then takes no time
    ratios: dict[str, list[float]] = {method: [] for method in methods}
    seconds: dict[str, list[float]] = {method: [] for method in (PLAIN, *methods)}
    for turn in range(rounds):
        before = _seconds(problem, PLAIN, steps)
        for method in methods if turn % 2 == 0 else reversed(methods):
            taken, after = _seconds(problem, method, steps), _seconds(problem, PLAIN, steps)
            ratios[method].append(2 * taken / (before + after))
            seconds[method].append(taken)
            seconds[PLAIN].append(after)
            before = after
    costs = {
        method: Time(statistics.median(seconds[method]), statistics.median(values), min(values), max(values))
        for method, values in ratios.items()
    }
    return {PLAIN: Time(statistics.median(seconds[PLAIN]), 1.0, 1.0, 1.0), **costs}


def _seconds(problem: UnrollProblem, method: str, steps: int) -> float:
    gc.collect()
    clock = time.perf_counter if problem.device.type == "cuda" or torch.get_num_threads() > 1 else time.process_time
    _synchronize(problem)
    started = clock()
    run_method(problem, method, steps)
    _synchronize(problem)
    return clock() - started


def _synchronize(problem: UnrollProblem) -> None:
    if problem.device.type == "cuda":
        torch.cuda.synchronize()


def measure_memory(
    problem: Path, cases: Sequence[tuple[str, int]], *, jobs: int
) -> Iterator[tuple[tuple[str, int], Memory]]:
    """Peak memory of every (method, K), each in a fresh process; yields them as they come in.

    Args:
        problem: File with the problem, from :func:`torch.save`.
        cases: Methods and K to measure.
        jobs: Processes at a time; no times are measured here.
    """
    # A server imports everything once, in this environment, and forks for each case before anything has run in it.
    os.environ.update(ALLOCATOR, PYTHONPATH=os.pathsep.join(sys.path))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hypergradient"])
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        futures = {pool.submit(_measure, problem, method, steps): (method, steps) for method, steps in cases}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _measure(path: Path, method: str, steps: int) -> Memory:
    torch.set_num_threads(1)
    problem = torch.load(path, weights_only=False)  # written by the parent a moment ago
    # Loads all code and brings up the threads. It stays under the peak of K = 1 on the whole batch, so it hides none.
    run_method(problem.small(), PLAIN, 1)
    run_method(problem.small(), method, 1)
    gc.collect()
    if problem.device.type == "cuda":
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run_method(problem, method, steps)
        peak = torch.cuda.max_memory_allocated()
    else:
        before = status_bytes("VmRSS")
        run_method(problem, method, steps)
        peak = status_bytes("VmHWM")
    return Memory(process=peak, unroll=peak - before)
