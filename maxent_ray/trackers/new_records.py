"""Records of a run since the last look: rows, clones and evaluations that were added to its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from maxent_ray.storage.json_lines import Record
from maxent_ray.storage.run_files import EVALUATIONS, LINEAGE, ROWS

FIELDS: Mapping[str, Mapping[str, type]] = {
    ROWS: {"trial": str, "objective": str, "step": int, "rank": int},
    LINEAGE: {"recipient": str, "donor": str, "step": int, "new": dict},
    EVALUATIONS: {"trial": str, "objective": str, "metrics": dict},
}
"""File → fields without which a line is skipped, and their types."""
MOST_BYTES = 16_000_000
"""Of a file at a time: a tracker that is added to a long run gets its records in parts."""


@dataclass(frozen=True)
class NewRecords:
    """Records that were added, and the bytes of each file that they end at."""

    rows: list[Record]
    clones: list[Record]
    evaluations: list[Record]
    offsets: Mapping[str, int]
    more: bool
    """True if there is more to read at once."""


class RecordReader:
    """Reads what is new in a results folder, and keeps apart the steps whose ranks may not all be there yet.

    Args:
        folder: ``results/<name>``, which need not exist yet.
        offsets: File → bytes that were read before.
    """

    def __init__(self, folder: Path, offsets: Mapping[str, int]) -> None:
        self._folder = folder
        self.offsets = {name: offsets.get(name, 0) for name in FIELDS}
        self._end = -1

    def read(self, *, last: bool = False) -> NewRecords:
        """Read what is new; nothing counts as read before :meth:`accept`.

        The newest step is held back while its ranks may be being written: until another line follows, the trial is
        evaluated, or nothing was added since the last look.

        Args:
            last: Nothing will follow.
        """
        # Rows last: whatever a clone or an evaluation rests on is then among them.
        clones, clones_end = self._lines(LINEAGE)
        evaluations, evaluations_end = self._lines(EVALUATIONS)
        rows, end = self._lines(ROWS)
        more = end - self.offsets[ROWS] > MOST_BYTES // 2
        if more:  # an evaluation waits for the last row of its trial
            evaluations, evaluations_end = [], self.offsets[EVALUATIONS]
        evaluated = {record.get("trial") for record, _ in evaluations}
        settled = last or end == self._end or (bool(rows) and rows[-1][0].get("trial") in evaluated)
        self._end = end
        kept = rows if settled and not more else _without_newest_step(rows)
        rows_end = end - sum(length for _, length in rows[len(kept) :])
        ends = {ROWS: rows_end, LINEAGE: clones_end, EVALUATIONS: evaluations_end}
        return NewRecords(
            _records(ROWS, kept), _records(LINEAGE, clones), _records(EVALUATIONS, evaluations), ends, more
        )

    def accept(self, records: NewRecords) -> None:
        """Count records as read."""
        self.offsets = dict(records.offsets)

    def _lines(self, name: str) -> tuple[list[tuple[Record, int]], int]:
        """Complete lines after the offset, each with its length in bytes, and the offset of their end."""
        path, start = self._folder / name, self.offsets[name]
        if not path.is_file():
            return [], start
        with path.open("rb") as file:
            file.seek(start)
            complete, newline, _ = file.read(MOST_BYTES).rpartition(b"\n")
        lines = (complete + newline).splitlines(keepends=True)
        return [(_parsed(line), len(line)) for line in lines], start + len(complete) + len(newline)


def _parsed(line: bytes) -> Record:
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _without_newest_step(rows: list[tuple[Record, int]]) -> list[tuple[Record, int]]:
    end = len(rows)
    while end and _step(rows[end - 1][0]) == _step(rows[-1][0]):
        end -= 1
    return rows[:end]


def _step(row: Record) -> tuple[object, object]:
    return row.get("trial"), row.get("step")


def _records(name: str, lines: list[tuple[Record, int]]) -> list[Record]:
    fields = FIELDS[name].items()
    return [record for record, _ in lines if all(isinstance(record.get(field), kind) for field, kind in fields)]
