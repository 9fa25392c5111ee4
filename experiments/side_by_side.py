"""Run many small local runs side by side, keep each finished one on disk, and show progress.

Shared by the experiments that compare seeds and starts. Runs that are on disk are not repeated, so an interrupted
experiment can be resumed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import load_config


def run_all(
    runs: Mapping[str, Sequence[str]],
    folder: Path,
    processes: int,
    then: Mapping[str, Sequence[Sequence[str]]] | None = None,
    keep: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
) -> dict[str, dict[str, Any]]:
    """Run every ``label → overrides``, some at a time, one thread each.

    Args:
        runs: Overrides (``section.key=value``) of each run, by label.
        folder: Folder of the ``<label>.json`` files.
        processes: Runs at a time.
        then: By label, overrides that change during the run, one list after the other: the run continues under each
            for its ``train.steps``.
        keep: From a run's record to the part of it that is written; ``overrides`` and ``then`` must be in it. A
            function of a module, since runs are made in processes of their own.

    Returns:
        By label: ``{"overrides", "then", "rows", "held_out"}``, or what ``keep`` made of it.

    Raises:
        ConfigError: the settings of a run are refused; none was made.
        RuntimeError: a run failed; the others were made all the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = {label: phases for label, phases in _phases(runs, then).items() if not _is_done(folder, label, phases)}
    for phases in missing.values():
        _configs(phases)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    context = multiprocessing.get_context("spawn")
    with Progress(*columns) as progress, ProcessPoolExecutor(processes, mp_context=context) as pool:
        bar = progress.add_task("runs", total=len(runs), completed=len(runs) - len(missing))
        futures = {pool.submit(_run, phases, _path(folder, label), keep): label for label, phases in missing.items()}
        failed = {}
        for future in as_completed(futures):
            error = future.exception()
            if error is not None:
                failed[futures[future]] = error
            progress.console.print(f"{futures[future]}: {future.result() if error is None else repr(error)}")
            progress.advance(bar)
    for label, error in failed.items():
        raise RuntimeError(f"{len(failed)} of {len(runs)} runs failed, {label} first; the others are kept") from error
    return {label: json.loads(_path(folder, label).read_text()) for label in runs}


def missing_of(
    runs: Mapping[str, Sequence[str]], folder: Path, then: Mapping[str, Sequence[Sequence[str]]] | None = None
) -> list[str]:
    """Labels of the runs that are not on disk, or are there with other settings; arguments as of :func:`run_all`."""
    return [label for label, phases in _phases(runs, then).items() if not _is_done(folder, label, phases)]


def read_notes(output: Path) -> str:
    """The words of ``notes.md`` beside a page of results, written by hand: what was learned."""
    notes = output / "notes.md"
    return notes.read_text(encoding="utf-8").strip() if notes.exists() else ""


def command_of_page() -> str:
    """The command that makes the page of this experiment, with all runs that it needs."""
    return shlex.join(["python", *(argument for argument in sys.argv if argument != "--report-only")])


def _phases(
    runs: Mapping[str, Sequence[str]], then: Mapping[str, Sequence[Sequence[str]]] | None
) -> dict[str, list[list[str]]]:
    return {label: [list(overrides), *map(list, (then or {}).get(label, ()))] for label, overrides in runs.items()}


def _path(folder: Path, label: str) -> Path:
    return folder / f"{label}.json"


def _is_done(folder: Path, label: str, phases: Sequence[Sequence[str]]) -> bool:
    path = _path(folder, label)
    if not path.exists():
        return False
    record = json.loads(path.read_text())
    return [record["overrides"], *record.get("then", [])] == list(phases)


def _configs(phases: Sequence[Sequence[str]]) -> list[ExperimentConfig]:
    return [load_config(overrides=[*phases[0], *changed]) for changed in ([], *phases[1:])]


def _run(phases: list[list[str]], path: Path, keep: Callable[[Mapping[str, Any]], dict[str, Any]]) -> str:
    """Run in a separate process; returns a line about it."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from maxent_ray.train.run_local import run_local

    first, *then = _configs(phases)
    run = run_local(first, then=then)
    record = {
        "overrides": phases[0],
        "then": phases[1:],
        "rows": [row.to_dict() for row in run.rows],
        "held_out": run.held_out.to_dict(),
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(keep(record)))
    partial.replace(path)
    last = run.rows[-1]
    return (
        f"H {last.entropy:.3f}, KL {last.kl:.4f}, tau {last.tau:.3f}, beta {last.beta:.4f}, "
        f"held-out coverage {run.held_out.coverage:.3f}"
    )
