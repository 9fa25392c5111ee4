"""Implementation of the commands: settings, cluster, job, and results on the terminal and on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from maxent_ray.cli.cluster import ray_cluster
from maxent_ray.cli.cluster_options import ClusterOptions
from maxent_ray.cli.exit_status import ExitStatus
from maxent_ray.cli.remote_run import check_machines
from maxent_ray.cli.run_location import RunLocation
from maxent_ray.cli.termination import interrupt_on_sigterm
from maxent_ray.config import ExperimentConfig
from maxent_ray.config.flat import flat_settings
from maxent_ray.config.loading import load_config
from maxent_ray.config.yaml_text import Unquoted
from maxent_ray.core.controller import Controller
from maxent_ray.report.labels import FIXED, GRPO, WARM_START
from maxent_ray.report.output import make_console
from maxent_ray.report.plots import PLOTS, SWEEP_PLOTS, draw_plots
from maxent_ray.report.progress import Progress
from maxent_ray.report.run_records import read_run
from maxent_ray.report.summary import Summary, build_summary, write_summary
from maxent_ray.report.tables import held_out_table, print_comparison, print_sweep
from maxent_ray.shipped import embedded_folder, is_embedded
from maxent_ray.storage.run_files import CONFIG, SUMMARY, recorded_trial
from maxent_ray.telemetry import Telemetry
from maxent_ray.trackers import PlannedSettings, Tracker, Tracking
from maxent_ray.train.run_folder import check_has_run
from maxent_ray.train.run_task import build_run_task
from maxent_ray.tune.comparison import check_scheduler, run_comparison
from maxent_ray.tune.execution import RunResult
from maxent_ray.tune.search_space import build_search_space
from maxent_ray.tune.sweep import run_sweep, sweep_size
from maxent_ray.tune.trial_spec import REFERENCE_SETTINGS, RunSize, objective_settings, population, references

OBJECTIVES: Mapping[str, Mapping[str, Any]] = {
    name: {key: Unquoted("null") if value is None else value for key, value in settings.items()}
    for name, settings in (
        *((objective, objective_settings(objective)) for objective in ("analytic", "truncated_backprop")),
        *((reference, REFERENCE_SETTINGS[reference]) for reference in (FIXED, GRPO)),
    )
}
"""Value of ``train --objective`` → settings; null as it would be typed, since None is an option that was not given."""


def default_name(command: str) -> str:
    """Unused name of a run: the command and the time."""
    return f"{command}-{datetime.now():%Y%m%d-%H%M%S}"


def settings(
    location: RunLocation, file: Path | None, flags: Mapping[str, Any], overrides: Sequence[str] | None
) -> ExperimentConfig:
    """Settings from a command line: file, then flags (None: not given), then overrides.

    Raises:
        ConfigError: a setting is unknown or out of range.
        ResumeError: the folder to resume holds no run.
        PolicyLoadError: the model's folder does not exist or lacks something.
        TaskError: the task is empty or too small.
    """
    is_resumed = location.resume and file is None
    if is_resumed:
        check_has_run(location.folder)
    given = {key: value for key, value in flags.items() if value is not None}
    source = location.folder / CONFIG if is_resumed else file
    config = load_config(source, overrides or (), given, checked=is_resumed)
    check_inputs(config)
    return config


def check_inputs(config: ExperimentConfig) -> None:
    """Check model, task, objective and update rules before anything starts.

    Raises:
        ConfigError: an objective, a rule or a task of the user's own cannot be imported, or is none; the task does not
            tell the modes that are to be tracked.
        PolicyLoadError: the model's folder does not exist or lacks something.
        TaskError: the task is empty or too small.
    """
    build_run_task(config)
    if is_embedded(config.policy_model):
        embedded_folder(config.policy_model)
    else:
        from maxent_ray.policy.source import find_source  # loads transformers

        find_source(config.policy_model)
    Controller(config.controller_config())


def train(
    location: RunLocation, config: ExperimentConfig, options: ClusterOptions, trackers: Sequence[Tracker] = ()
) -> ExitStatus:
    """``maxent-ray train``."""
    from maxent_ray.train.ray_train.loop import run_training  # loads transformers

    location.check_available()
    console, started = make_console(), time.monotonic()
    steps, trial = config.train.steps, recorded_trial(location.folder) or location.name
    tracking = Tracking(location.folder, trackers, dict.fromkeys((trial, WARM_START), flat_settings(config)))
    with _live_progress(location, options, console, steps, steps, "training", tracking) as progress:
        run_training(config, **location.arguments, listeners=[progress])
    plots = [name for name in PLOTS if name != "lineage"]
    show_results(location.folder, console, time.monotonic() - started, plots=plots)
    _print_lines(console, tracking.problems(), style="yellow")
    return ExitStatus.SUCCESS


def compare(
    location: RunLocation, config: ExperimentConfig, options: ClusterOptions, trackers: Sequence[Tracker] = ()
) -> ExitStatus:
    """``maxent-ray compare``."""
    check_scheduler(config)
    space = build_search_space(config)
    planned = population(config, space) + (references(config, space) if config.tune.references else [])
    size = RunSize(len(planned), sum(spec.steps for spec in planned))
    return _run_trials(location, config, options, trackers, size, run_comparison)


def sweep(
    location: RunLocation, config: ExperimentConfig, options: ClusterOptions, trackers: Sequence[Tracker] = ()
) -> ExitStatus:
    """``maxent-ray sweep``."""
    return _run_trials(location, config, options, trackers, sweep_size(config), run_sweep, print_sweep, SWEEP_PLOTS)


def evaluate(config: ExperimentConfig, output: Path | None) -> None:
    """``maxent-ray eval``."""
    from maxent_ray.train.policy_evaluation import evaluate_policy, write_evaluation  # loads transformers

    evaluation, console = evaluate_policy(config), make_console()
    metrics = evaluation.metrics
    of = f"{metrics.prompts} held-out prompts of {config.task.name}, {metrics.samples} answers each"
    _print_lines(console, [f"{config.policy_model} on {of}"])
    console.print(held_out_table(metrics))
    if output is not None:
        write_evaluation(output, config, evaluation)
        _print_lines(console, [f"Written to {output}."])


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
    """Write ``summary.json``, the plots and the report of a results folder, and print its tables.

    Plots and a report that cannot be made are left out, which is said at the end.

    Raises:
        RecordingError: ``summary.json`` cannot be written; the tables are printed all the same.
    """
    failed = Telemetry("a plot cannot be drawn; records and summary are whole")
    drawn = [path.name for path in draw_plots(folder, plots, telemetry=failed)]
    summary = build_summary(read_run(folder), wall_seconds)
    show(summary, console)
    write_summary(folder, summary)
    _print_lines(console, ["", f"Written to {folder}: {', '.join([SUMMARY, *drawn])} and the records."])
    if failed.failures:
        _print_lines(console, [f"{failed.failures} plot(s) could not be drawn: {failed.reason}"], style="yellow")
    print_report(folder, console)


def print_report(folder: Path, console: Console) -> None:
    """Write the report, which is telemetry, and print its path, or why there is none."""
    from maxent_ray.dashboard.report_file import write_report

    failed = Telemetry("the report cannot be written; records and summary are whole")
    with failed.attempt():
        _print_lines(console, [f"Report, for any browser: {write_report(folder)}"])
    if failed.failures:
        _print_lines(console, [f"No report could be written: {failed.reason}"], style="yellow")


def _run_trials(
    location: RunLocation,
    config: ExperimentConfig,
    options: ClusterOptions,
    trackers: Sequence[Tracker],
    size: RunSize,
    run: Callable[..., RunResult],
    show: Callable[[Summary, Console], None] = print_comparison,
    further_plots: Sequence[str] = (),
) -> ExitStatus:
    """Run trials with a live table, then summarise, plot and print; the last lines name the trials that failed."""
    location.check_available()
    console, started = make_console(), time.monotonic()
    phase = f"training {size.trials} trials"
    tracking = Tracking(location.folder, trackers, PlannedSettings(location.folder, config))
    with _live_progress(location, options, console, size.steps, config.train.steps, phase, tracking) as progress:
        result = run(config, **location.arguments, listeners=[progress])
    show_results(location.folder, console, time.monotonic() - started, plots=[*PLOTS, *further_plots], show=show)
    _print_lines(console, tracking.problems(), style="yellow")
    if not result.failed:
        return ExitStatus.SUCCESS
    lines = [f"{trial} failed: {error}" for trial, error in result.failed.items()]
    others = len(result.finished) + len(result.stopped)
    lines.append(f"{len(lines)} of {len(lines) + others} trials failed; the others are complete.")
    _print_lines(console, lines, style="red")
    return ExitStatus.TRIALS_FAILED


@contextmanager
def _live_progress(
    location: RunLocation,
    options: ClusterOptions,
    console: Console,
    total: int,
    steps: int,
    phase: str,
    tracking: Tracking,
) -> Iterator[Progress]:
    """Connect to a cluster, log to trackers, and show a live table of ``total`` policy steps, ``steps`` a trial."""
    with ray_cluster(options, location.results) as cluster:
        check_machines(location.uri, cluster.machines)
        _print_lines(console, [*cluster.describe(), *_location_lines(location), *tracking.describe()])
        _print_lines(console, cluster.warnings(), style="yellow")
        with interrupt_on_sigterm(), Progress(total, steps, console=console) as progress, tracking:
            progress.phase(phase)
            yield progress


def _location_lines(location: RunLocation) -> list[str]:
    """Line with the place of the results."""
    return [f"Results: {location.place} (Ctrl-C stops; {location.resume_option} continues)"]


def _print_lines(console: Console, lines: Sequence[str], style: str = "") -> None:
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)
