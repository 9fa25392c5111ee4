"""Small files of a results folder, each read again only when it has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from maxent_ray.config import RecordedConfig, load_recorded
from maxent_ray.errors import MaxentRayError
from maxent_ray.evaluation.metric_intervals import HeldOut, estimate_metrics
from maxent_ray.report.run_records import (
    Clone,
    Evaluation,
    Planned,
    Stopped,
    early_stops,
    evaluation_of,
    planned_of,
    read_records,
    sorted_clones,
)
from maxent_ray.storage import run_files
from maxent_ray.storage.growing_file import regular_file
from maxent_ray.storage.json_lines import Record
from maxent_ray.storage.run_files import CONFIG, SAMPLES

T = TypeVar("T")
_LARGEST_CONFIG = 2**20
_LARGEST_RECORDS = 256 * 2**20


class Watched(Generic[T]):
    """Content of a file, read when it has changed.

    Args:
        path: The file.
        read: Reads it; is called for a missing file too.
    """

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        self._path, self._read = path, read
        self._seen: object = "never"
        self._content: T

    def has_changed(self) -> bool:
        """True if it is to be read: one ``stat``."""
        return regular_file(self._path) != self._seen

    def content(self) -> T:
        """Content as it is now."""
        now = regular_file(self._path)
        if now != self._seen:
            self._content = self._read(self._path)
            self._seen = now
        return self._content


class Evaluations:
    """Held-out metrics of the trials that finished.

    Args:
        records: Trial → its evaluation.
        torn: Lines that were left out.
        known: What was read before; estimates of the same metrics are taken over.
    """

    def __init__(self, records: Mapping[str, Evaluation], torn: int, known: Evaluations | None = None) -> None:
        self.records = records
        self.torn = torn
        before = known._estimates if known else {}
        self._estimates: dict[str, HeldOut] = {
            trial: found
            for trial, found in before.items()
            if known and trial in records and known.records[trial] == records[trial]
        }

    def estimates(self) -> Mapping[str, HeldOut]:
        """Trial → its metrics with their intervals, computed when they are first asked for."""
        for trial in self.records.keys() - self._estimates.keys():
            if (metrics := self.records[trial].metrics) is not None:
                self._estimates[trial] = estimate_metrics([metrics])
        return self._estimates


def read_evaluations(path: Path, known: Evaluations | None) -> Evaluations:
    """Read ``evaluations.jsonl``; a record that lacks what a later line has is left out and counted."""
    lines, torn = _read_records(path)
    records = {}
    for line in lines:
        try:
            records[str(line["trial"])] = evaluation_of(line)
        except (KeyError, TypeError, ValueError, AttributeError):  # metrics of another version, or made by others
            torn += 1
    return Evaluations(records, torn, known)


def read_clones(path: Path) -> tuple[tuple[Clone, ...], int]:
    """Read ``lineage.jsonl``: clones, and the lines that were left out."""
    lines, torn = _read_records(path)
    return sorted_clones(lines), torn


def read_settings(path: Path) -> tuple[RecordedConfig | None, str]:
    """Read ``config.yaml``: the settings, or None and what to do."""
    found = regular_file(path)
    if found is None:
        return None, (
            f"{path.parent.name} has no {CONFIG}, so it is no results folder, or the start of its run was interrupted: "
            "give the folder that --results named, and remove what is no run"
        )
    if found[1] > _LARGEST_CONFIG:
        return None, f"{CONFIG} is larger than 1 MiB, so it is none of ours: remove the folder from the results"
    try:
        return load_recorded(path), ""
    except (MaxentRayError, OSError, UnicodeDecodeError, RecursionError) as error:
        return None, (
            f"{CONFIG} cannot be read ({error}): if another version wrote it, show it with that version "
            "(maxent-ray dashboard); if it is being written, wait a moment"
        )


class Plan(NamedTuple):
    """Trials that a comparison or a sweep has planned so far."""

    command: str | None
    """``compare``, ``sweep`` or ``rllib``; None for a run of one trial, and for one of before this was recorded."""
    trials: Mapping[str, Planned]
    torn: int


def read_plan(path: Path) -> Plan:
    """Read ``trials.jsonl``."""
    lines, torn = _read_records(path)
    trials = {str(line["trial"]): planned_of(line) for line in lines}
    return Plan(str(lines[-1]["command"]) if lines else None, trials, torn)


def read_stops(path: Path) -> tuple[dict[str, Stopped], int]:
    """Read ``rungs.jsonl``: trials that were stopped early, and the number of lines that were left out."""
    lines, torn = _read_records(path)
    return early_stops(lines), torn


def read_samples(folder: Path, trial: str) -> list[Mapping[str, Any]]:
    """Read the sampled answers of a trial, of all trials if it is empty; the page shows them as text."""
    path = folder / SAMPLES
    lines = run_files.read_samples(path) if _is_readable(path) else []
    return [line for line in lines if trial in ("", line.get("trial"))]


def _read_records(path: Path) -> tuple[list[Record], int]:
    """Lines that belong somewhere, and the number of the others; a file that is too large has none."""
    return read_records(path) if _is_readable(path) else ([], 0)


def _is_readable(path: Path) -> bool:
    found = regular_file(path)
    return found is not None and found[1] <= _LARGEST_RECORDS
