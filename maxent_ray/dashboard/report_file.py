"""Report: the results page of one run, with its data, as one HTML file to send, to keep and to print."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from maxent_ray.dashboard import answers
from maxent_ray.dashboard.decisions import Filter
from maxent_ray.dashboard.run_files import read_samples
from maxent_ray.dashboard.run_reader import RunReader
from maxent_ray.dashboard.single_file import inline_page
from maxent_ray.errors import ConfigError
from maxent_ray.storage.atomic import write_atomic
from maxent_ray.storage.json_lines import strict

REPORT = "report.html"
MOST_BYTES = 2_700_000
"""Data of a report, if thinning can reach it; the page itself adds 0.2 MB."""

_UNESCAPED = "!~*'()"
"""Characters that the page's encodeURIComponent leaves, and quote would not."""


class _Detail(NamedTuple):
    """Amount of data that a report keeps."""

    points: int
    """Of each curve; shorter ones are kept whole."""
    decisions: int
    """The newest ones."""
    prompts: int
    """With sampled answers, of each trial."""


_DETAILS = (
    _Detail(2000, 4000, 64),
    _Detail(800, 2000, 32),
    _Detail(300, 1000, 16),
    _Detail(120, 500, 8),
    _Detail(40, 250, 4),
    _Detail(16, 100, 1),
)


@dataclass(frozen=True)
class Report:
    """A report on disk."""

    path: Path
    size: int
    """Bytes."""

    def __str__(self) -> str:
        """Path and size, for people."""
        return f"{self.path} ({self.size / 1e6:.1f} MB)"


def write_report(folder: Path, output: Path | None = None) -> Report:
    """Write the report of a results folder.

    Args:
        folder: ``results/<name>``, of a finished, an interrupted or a running job.
        output: The file; by default ``report.html`` in the folder.

    Raises:
        ConfigError: the folder holds no run that can be read, or ``output`` is a folder.
        RecordingError: the file cannot be written.
    """
    path = output or folder / REPORT
    if path.is_dir():
        raise ConfigError(f"--output is '{path}', a folder; give the name of a file, such as {path / REPORT}")
    run = _read(folder)
    text = inline_page(report_data(run), f"{run.folder.name}, report of maxent_ray")
    content = text.encode()
    write_atomic(path, content)
    return Report(path, len(content))


def report_data(run: RunReader) -> Mapping[str, Any]:
    """Collect the answers that the page asks for, in as much detail as fits."""
    data: Mapping[str, Any] = {}
    for detail in _DETAILS:
        data = _data(run, detail)
        if len(json.dumps(data)) <= MOST_BYTES:
            break
    return data


def _read(folder: Path) -> RunReader:
    if not folder.is_dir():
        raise ConfigError(f"RESULTS/NAME is '{folder}', which is no folder; give a run's, such as results/demo")
    run = RunReader(folder.resolve())
    run.refresh()
    if run.status.state == "unreadable":
        raise ConfigError(run.status.message)
    run.read_whole()
    return run


def _data(run: RunReader, detail: _Detail) -> dict[str, Any]:
    details = answers.details(run)
    signals = [signal["name"] for signal in details["signals"]]
    series = [_rounded(each) for each in answers.series(run, signals, points=detail.points)]
    total, decisions = run.decisions.select(Filter(limit=detail.decisions, newest=True)) if run.decisions else (0, [])
    samples, all_samples = _samples(run, detail.prompts)
    path = "api/runs/" + quote(run.folder.name, safe=_UNESCAPED)
    responses = {
        path: details,
        f"{path}/series": {"series": series},
        f"{path}/decisions": {"total": total, "decisions": decisions},
        f"{path}/samples": {"samples": samples},
    }
    exact = all(each["exact"] for each in series)
    notes = {
        "series": "" if exact else "Curves are thinned: their smallest and largest values stay.",
        "decisions": _kept(len(decisions), total, "decisions"),
        "samples": _kept(len(samples), all_samples, "prompts"),
    }
    written = datetime.now(UTC).isoformat(timespec="seconds")
    data: dict[str, Any] = strict(
        {"responses": responses, "runs": [answers.overview(run)], "written": written, "notes": notes}
    )
    return data


def _rounded(curve: Mapping[str, Any]) -> dict[str, Any]:
    """Round values to six significant digits: more cannot be seen, and would double the file."""
    values = [None if value is None else float(f"{value:.6g}") for value in curve["value"]]
    return {**curve, "value": values}


def _samples(run: RunReader, prompts: int) -> tuple[list[Mapping[str, Any]], int]:
    """First prompts of every trial, and the number of all."""
    found = read_samples(run.folder, "")
    kept: dict[str, list[Mapping[str, Any]]] = {}
    for sample in found:
        own = kept.setdefault(str(sample.get("trial")), [])
        if len(own) < prompts:
            own.append(sample)
    return [sample for own in kept.values() for sample in own], len(found)


def _kept(kept: int, total: int, noun: str) -> str:
    return "" if kept == total else f"This report keeps {kept:,} of {total:,} {noun}; the results folder has all."
