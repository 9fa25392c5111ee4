"""Decisions of a run: an index in memory, the lines themselves read from the file when they are asked for."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maxent_ray.core import signals
from maxent_ray.dashboard.columns import Fields, Floats, read_columns
from maxent_ray.dashboard.table import Table
from maxent_ray.report.run_records import Warned
from maxent_ray.storage.growing_file import Block, GrowingFile
from maxent_ray.storage.run_files import DECISIONS

_FIELDS = Fields(texts=("trial", "reason"), numbers=("segment", "version"))
_SEGMENT, _VERSION, _REASON, _OFFSET, _LENGTH, _ALARMED = range(6)
_ALARM = re.compile(rb'"alarms": ?\[ ?\{')
_LONGEST_LINE = 2**20
LIMIT = 1000
"""Decisions of one answer, at most."""


@dataclass(frozen=True)
class Filter:
    """Decisions that are asked for; empty texts select all."""

    trial: str = ""
    reason: str = ""
    text: str = ""
    """Part of the decision's line, without regard to case."""
    offset: int = 0
    limit: int = 100
    newest: bool = False
    """Newest first."""


class Decisions:
    """Decisions of every trial; of two with one version, before and after a resume, the later counts.

    Args:
        folder: ``results/<name>``.
    """

    def __init__(self, folder: Path) -> None:
        self.file = GrowingFile(folder / DECISIONS)
        self.torn = 0
        self._trials: dict[str, Table] = {}
        self._reasons: list[str] = []

    @property
    def count(self) -> int:
        """Decisions that count."""
        return sum(map(len, self._trials.values()))

    def read_new(self) -> None:
        """Index the decisions that were added."""
        for block in self.file.new_blocks():
            self._add(block)

    def reasons(self) -> dict[str, dict[str, int]]:
        """Trial → reason → number of decisions."""
        counts = {
            trial: np.bincount(table.values[_REASON].astype(int), minlength=len(self._reasons)).tolist()
            for trial, table in self._trials.items()
        }
        return {
            trial: {reason: count for reason, count in sorted(zip(self._reasons, own, strict=True)) if count}
            for trial, own in counts.items()
        }

    def alarms(self) -> dict[str, tuple[Warned, ...]]:
        """Trial → alarms of its decisions, in order."""
        found: dict[str, tuple[Warned, ...]] = {}
        for trial, table in self._trials.items():
            alarmed = table.values[:, table.values[_ALARMED] > 0]
            warned = [each for record in self._records(alarmed) for each in _alarms_of(record)]
            if warned:
                found[trial] = tuple(warned)
        return found

    def select(self, wanted: Filter) -> tuple[int, list[dict[str, Any]]]:
        """Number of the decisions that a filter selects, and those of the page that it asks for."""
        own = [table.values for trial, table in self._trials.items() if wanted.trial in ("", trial)]
        places = np.concatenate(own, axis=1) if own else np.empty((6, 0))
        if wanted.reason:
            places = places[:, places[_REASON] == self._code(wanted.reason)]
        places = places[:, np.argsort(places[_OFFSET])]
        if wanted.text:
            needle = json.dumps(wanted.text)[1:-1].lower().encode()
            kept = [needle in line.lower() for line in self._lines(places)]
            places = places[:, np.array(kept, dtype=bool)]
        page = (places[:, ::-1] if wanted.newest else places)[:, wanted.offset :][:, : min(wanted.limit, LIMIT)]
        return places.shape[1], [_shown(record) for record in self._records(page)]

    def _add(self, block: Block) -> None:
        columns = read_columns(block.data, _FIELDS)
        ends = np.flatnonzero(np.frombuffer(block.data, np.uint8) == ord("\n"))
        starts = np.concatenate([[0], ends[:-1] + 1])
        alarmed = np.zeros(len(starts))
        alarmed[[np.searchsorted(ends, found.start()) for found in _ALARM.finditer(block.data)]] = 1
        codes, reasons = columns.texts["reason"]
        known = np.array([self._code(reason) for reason in reasons], dtype=int)
        line = columns.line
        records = np.vstack(
            [columns.numbers, known[codes], block.offset + starts[line], (ends - starts)[line], alarmed[line]]
        )
        trials, names = columns.texts["trial"]
        for code, name in enumerate(names):
            table = self._trials.setdefault(name, Table(6))
            known_before = len(table)
            table.append(records[:, trials == code])
            _drop_superseded(table, known_before)
        self.torn += columns.torn

    def _code(self, reason: str) -> int:
        if reason not in self._reasons:
            self._reasons.append(reason)
        return self._reasons.index(reason)

    def _lines(self, places: Floats) -> Iterator[bytes]:
        if not places.size:
            return
        with self.file.path.open("rb") as file:
            for offset, length in zip(places[_OFFSET].tolist(), places[_LENGTH].tolist(), strict=True):
                yield os.pread(file.fileno(), min(int(length), _LONGEST_LINE), int(offset))

    def _records(self, places: Floats) -> Iterator[Mapping[str, Any]]:
        for line in self._lines(places):
            try:
                record = json.loads(line)
            except ValueError:
                continue  # the file was rewritten since it was indexed: the next reading begins anew
            if isinstance(record, dict):
                yield record


def _key(places: Floats) -> Floats:
    """Order of decisions within a trial: by segment, then by version."""
    key: Floats = np.nan_to_num(places[_SEGMENT], nan=0.0) * 2**40 + np.nan_to_num(places[_VERSION], nan=-1.0)
    return key


def _drop_superseded(table: Table, known_before: int) -> None:
    """Of decisions with the same key keep the later; those known before have different ones."""
    if (np.diff(_key(table.values[:, max(0, known_before - 1) :])) > 0).all():
        return
    keys = _key(table.values)[::-1]
    _, last = np.unique(keys, return_index=True)
    table.keep(np.sort(len(keys) - 1 - last))


def _alarms_of(record: Mapping[str, Any]) -> Sequence[Warned]:
    alarms = record.get("alarms")
    return [
        Warned(_whole(record.get("step")), *(str(alarm.get(name, "")) for name in ("kind", "coefficient", "message")))
        for alarm in (alarms if isinstance(alarms, list) else ())
        if isinstance(alarm, dict)
    ]


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


_SHOWN = ("tau", "beta", "entropy", signals.target_of("entropy"), "kl", signals.target_of("kl"))


def _shown(record: Mapping[str, Any]) -> dict[str, Any]:
    """A decision as the page has it."""
    step = record.get("step")
    return {
        "trial": str(record["trial"]),
        "step": step + 1 if isinstance(step, int) else None,
        "version": record.get("version"),
        "reason": str(record["reason"]),
        **{name: record.get(name) for name in _SHOWN},
        "events": record.get("events") or [],
        "alarms": record.get("alarms") or [],
    }
