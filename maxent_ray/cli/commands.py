"""What the commands do: settings, a cluster, the job, and its results on the terminal and on disk."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from maxent_ray.cli.cluster import ClusterOptions, ray_cluster
from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import load_config
from maxent_ray.report.labels import FIXED, GRPO
from maxent_ray.report.plots import PLOTS, draw_plots
from maxent_ray.report.progress import Progress
from maxent_ray.report.summary import Summary, summarise
from maxent_ray.report.tables import held_out_table, points_table, print_comparison
from maxent_ray.storage.run_files import CONFIG
from maxent_ray.tasks import build_task
from maxent_ray.train.run_folder import check_has_run, check_is_new, own_folder
from maxent_ray.tune.comparison import run_comparison
from maxent_ray.tune.execution import RunResult
from maxent_ray.tune.search_space import build_search_space
from maxent_ray.tune.sweep import TARGETS, run_sweep, sweep_points
from maxent_ray.tune.trial_spec import REFERENCE_SETTINGS, TrialSpec, population, references, variants

LOG_WIDTH = 110
"""Columns of tables that go to a file or a pipe."""
SWEEP_POINTS = 3
"""Values of each interval in a grid; a choice says itself how many it has."""
OBJECTIVES: Mapping[str, Mapping[str, Any]] = {
    **{
        method: {
            "weighting.controller_meta.enabled": True,
            "weighting.controller_meta.method": method,
            "weighting.train_grpo_objective": False,
        }
        for method in ("analytic", "truncated_backprop")
    },
    **{reference: REFERENCE_SETTINGS[reference] for reference in (FIXED, GRPO)},
}
"""What ``train --objective`` stands for."""


@dataclass(frozen=True)
class Place:
    """Where a run writes."""

    name: str
    results: Path
    resume: bool

    @classmethod
    def of(cls, name: str, results: Path, resume: Path | None) -> Place:
        """``results/name``, or the folder to go on with."""
        if resume is None:
            return cls(name, results, False)
        return cls(resume.resolve().name, resume.parent, True)

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.results / self.name

    def check_free(self) -> None:
        """Make sure that no other run, and no other driver of this one, writes there; before anything starts.

        Raises:
            ResumeError: the folder of a new run exists; the one to go on with holds no run, or is in use.
        """
        if not self.resume:
            check_is_new(self.folder)
            return
        with own_folder(self.folder, resume=True):
            pass  # the run itself takes it again, and keeps it


def default_name(command: str) -> str:
    """A name that is free: the command and the time."""
    return f"{command}-{datetime.now():%Y%m%d-%H%M%S}"


def settings(
    place: Place, file: Path | None, flags: Mapping[str, Any], overrides: Sequence[str] | None
) -> ExperimentConfig:
    """The experiment that a command line asks for: file, then flags (None: not given), then overrides.

    Raises:
        ConfigError: a setting is unknown or out of range.
        ResumeError: the folder to go on with holds no run.
        PolicyLoadError: the model's folder does not exist or lacks something.
        TaskError: the task is empty or too small.
    """
    if place.resume and file is None:
        check_has_run(place.folder)
        file = place.folder / CONFIG
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    config = load_config(file, [*given, *(overrides or ())])
    check_inputs(config)
    return config


def check_inputs(config: ExperimentConfig) -> None:
    """Look at model and task before anything starts.

    Raises:
        PolicyLoadError: the model's folder does not exist or lacks something.
        TaskError: the task is empty or too small.
    """
    if config.policy.model != "embedded":
        from maxent_ray.policy.source import find_source  # loads transformers

        find_source(config.policy.model)
    build_task(config.task.name, held_out_count=config.task.held_out_prompts, seed=config.task.seed)


def train(place: Place, config: ExperimentConfig, options: ClusterOptions) -> None:
    """``maxent-ray train``."""
    from maxent_ray.train.ray_train.loop import run_training  # loads transformers

    place.check_free()
    console, started = make_console(), time.monotonic()
    with ray_cluster(options) as cluster:
        _say(console, [*cluster.describe(), *_where(place)])
        _say(console, cluster.warnings(), style="yellow")
        with Progress(config.train.steps, config.train.steps, console=console) as progress:
            progress.phase("training")
            run_training(config, name=place.name, results=place.results, resume=place.resume, listeners=[progress])
    show_results(place.folder, console, time.monotonic() - started, plots=[name for name in PLOTS if name != "lineage"])


def compare(place: Place, config: ExperimentConfig, options: ClusterOptions) -> None:
    """``maxent-ray compare``."""
    space = build_search_space(config)
    planned = population(config, space) + (references(config, space) if config.tune.references else [])
    _run_trials(place, config, options, planned, run_comparison)


def sweep(place: Place, config: ExperimentConfig, options: ClusterOptions) -> None:
    """``maxent-ray sweep``."""
    space = build_search_space(config)
    searched = space.only([key for key in TARGETS if key in space.names])
    planned = variants(config, sweep_points(config, searched, SWEEP_POINTS))
    planned += references(config, space) if config.tune.references else []
    _run_trials(place, config, options, planned, run_sweep, print_sweep)


def print_sweep(summary: Summary, console: Console) -> None:
    """The tables of a comparison, and one line for every point before them."""
    console.print(points_table(summary))
    print_comparison(summary, console)


def evaluate(config: ExperimentConfig, output: Path | None) -> None:
    """``maxent-ray eval``."""
    from maxent_ray.train.policy_evaluation import evaluate_policy, write_metrics  # loads transformers

    metrics, console = evaluate_policy(config), make_console()
    of = f"{metrics.prompts} held-out prompts of {config.task.name}, {metrics.samples} answers each"
    _say(console, [f"{config.policy.model} on {of}"])
    console.print(held_out_table(metrics))
    if output is not None:
        write_metrics(output, config, metrics)
        _say(console, [f"Written to {output}."])


def version() -> None:
    """``maxent-ray version``."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        print(f"maxent-ray {installed('maxent-ray')}")
    except PackageNotFoundError:
        print(f"maxent-ray not installed, run from {Path(__file__).parents[1]}")
    for package in ("ray", "torch", "transformers"):
        print(f"{package} {installed(package)}")
    print(f"python {platform.python_version()}")


def show_results(
    folder: Path,
    console: Console,
    wall_seconds: float,
    *,
    plots: Iterable[str] = tuple(PLOTS),
    show: Callable[[Summary, Console], None] = print_comparison,
) -> None:
    """Write ``summary.json`` and the plots of a results folder, and print its tables."""
    summary = summarise(folder, wall_seconds)
    drawn = ", ".join(path.name for path in draw_plots(folder, plots))
    show(summary, console)
    _say(console, ["", f"Written to {folder}: summary.json, {drawn} and the records."])


def make_console() -> Console:
    """Standard output: as wide as the terminal, or wide enough for the tables where there is none."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else LOG_WIDTH)


def _run_trials(
    place: Place,
    config: ExperimentConfig,
    options: ClusterOptions,
    planned: Sequence[TrialSpec],
    run: Callable[..., RunResult],
    show: Callable[[Summary, Console], None] = print_comparison,
) -> None:
    """Run trials with a live table, then summarise, plot and print."""
    place.check_free()
    console, started = make_console(), time.monotonic()
    with ray_cluster(options) as cluster:
        _say(console, [*cluster.describe(), *_where(place)])
        _say(console, cluster.warnings(), style="yellow")
        total = sum(spec.steps for spec in planned)
        with Progress(total, config.train.steps, console=console) as progress:
            progress.phase(f"training {len(planned)} trials")
            result = run(config, name=place.name, results=place.results, resume=place.resume, listeners=[progress])
    for trial, error in result.failed.items():
        console.print(Text(f"{trial} failed: {error}", style="red"))
    show_results(place.folder, console, time.monotonic() - started, show=show)


def _where(place: Place) -> list[str]:
    """Absolute, because a submitted job starts in a copy of the working directory, on another machine perhaps."""
    return [f"Results: {place.folder.resolve()} (Ctrl-C stops; --resume {place.folder} goes on)"]


def _say(console: Console, lines: Sequence[str], style: str = "") -> None:
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)
