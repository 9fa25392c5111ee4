"""All rows of a run, by trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from os import cpu_count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maxent_ray.dashboard.columns import Columns, read_columns
from maxent_ray.dashboard.trial_rows import ROW_FIELDS, TrialRows
from maxent_ray.storage.growing_file import Block, GrowingFile
from maxent_ray.storage.run_files import ROWS

SAMPLED_BYTES = 12 * 2**20
"""Of a larger file, a sample of that size is read first."""
_SAMPLES = 48
_BATCH = 16
"""Blocks that are sorted by trial together."""
_THREADS = min(8, cpu_count() or 1)


class Rows:
    """Rows of a run, read as the file grows.

    Args:
        folder: ``results/<name>``.
    """

    def __init__(self, folder: Path) -> None:
        self.file = GrowingFile(folder / ROWS)
        self.trials: dict[str, TrialRows] = {}
        self.count = 0
        """Rows on record, superseded ones included."""
        self.torn = 0
        self.sampled = False
        """Only a sample of the file was read so far."""

    def sample(self) -> None:
        """Read a small file whole, and a large one at a few places: enough for a first picture."""
        size = self.file.path.stat().st_size if self.file.path.is_file() else 0
        if size <= SAMPLED_BYTES:
            self.read_new()
            return
        self.sampled = True
        blocks = self.file.sample_blocks(_SAMPLES, SAMPLED_BYTES // _SAMPLES)
        self._add([read_columns(block.data, ROW_FIELDS) for block in blocks])

    def read_new(self) -> bool:
        """Read the rows that were added; True if there are any."""
        before = self.count
        with ThreadPoolExecutor(_THREADS) as pool:
            columns = _in_order(pool, self.file.new_blocks())
            while batch := list(islice(columns, _BATCH)):
                self._add(batch)
        return self.count > before

    def _add(self, blocks: Sequence[Columns]) -> None:
        """Add rows to their trials, all rows of a trial at once."""
        codes = np.concatenate([self._codes(columns) for columns in blocks])
        order = np.argsort(codes, kind="stable")
        numbers = np.concatenate([columns.numbers for columns in blocks], axis=1)[:, order]
        objectives = [columns.texts["objective"] for columns in blocks]
        labels = np.concatenate([np.array(texts, dtype=object)[code] for code, texts in objectives])
        names = list(self.trials)
        found, begins = np.unique(codes[order], return_index=True)
        for code, begin, end in zip(found, begins, np.append(begins, len(order))[1:], strict=True):
            self.trials[names[code]].append(numbers[:, begin:end], labels[order[end - 1]])
        self.count += len(codes)
        self.torn += sum(columns.torn for columns in blocks)

    def _codes(self, columns: Columns) -> NDArray[np.int64]:
        """Place of each line's trial among all trials."""
        own, names = columns.texts["trial"]
        for name in names:
            self.trials.setdefault(name, TrialRows())
        places = {name: place for place, name in enumerate(self.trials)}
        return np.array([places[name] for name in names], dtype=np.int64)[own]


def _in_order(pool: ThreadPoolExecutor, blocks: Iterator[Block]) -> Iterator[Columns]:
    """Columns of the blocks, in order, a few of them read at the same time."""
    waiting = [pool.submit(read_columns, block.data, ROW_FIELDS) for block in islice(blocks, _THREADS + 1)]
    while waiting:
        columns = waiting.pop(0).result()
        waiting += [pool.submit(read_columns, block.data, ROW_FIELDS) for block in islice(blocks, 1)]
        yield columns
