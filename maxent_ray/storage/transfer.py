"""Transfers of many files: several at a time, and how far they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

THREADS = 8
"""Uploads and downloads at a time."""
Told = Callable[[int, int], None]
"""Gets the bytes that were transferred, and those that there are."""


def in_parallel(do: Callable[[str], None], names: Iterable[str]) -> None:
    """Do something for several files at a time; the first error is raised, after those under way."""
    with ThreadPoolExecutor(THREADS, "maxent-ray-transfer") as pool:
        futures = [pool.submit(do, name) for name in names]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def counted(told: Told, total: int) -> Callable[[int], None]:
    """Sum of what was transferred, in any thread."""
    lock, done = threading.Lock(), 0

    def add(size: int) -> None:
        nonlocal done
        with lock:
            done += size
            told(done, total)

    return add
