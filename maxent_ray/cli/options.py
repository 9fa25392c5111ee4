"""Options of the commands: choices, shared options, and their declaration to typer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

WHAT, SETTINGS, MACHINE, OUTPUT = "What to run", "Settings", "Machine", "Output"


class Objective(StrEnum):
    """Objective of ``train``."""

    analytic = "analytic"
    truncated_backprop = "truncated_backprop"
    fixed = "fixed"
    grpo = "grpo"


class Mode(StrEnum):
    """Cloning mode of ``compare``."""

    stratified = "stratified"
    tournament = "tournament"


class Search(StrEnum):
    """Search of ``sweep``."""

    grid = "grid"
    random = "random"
    optuna = "optuna"


class Scheduler(StrEnum):
    """Scheduler of ``sweep``."""

    fifo = "fifo"
    asha = "asha"


def option(*names: str, panel: str, metavar: str, **options: Any) -> Any:
    """Option without a default: the configuration applies where it is omitted."""
    return typer.Option(*names, rich_help_panel=panel, metavar=metavar, show_default=False, **options)


ConfigFile = Annotated[
    Path | None,
    option(
        "--config",
        "-c",
        panel=SETTINGS,
        metavar="FILE",
        help="YAML file; omitted settings keep their defaults.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SECTION.KEY=VALUE]...",
        help="Single settings, as controller.target_kl=0.1; they win over the file and over options.",
        show_default=False,
    ),
]
Steps = Annotated[int | None, option(panel=SETTINGS, metavar="N", help="Policy steps of one run (train.steps).")]
Seed = Annotated[
    int | None,
    option(panel=SETTINGS, metavar="N", help="Seed of prompts, sampling and search (train.seed)."),
]
Workers = Annotated[
    int | None,
    option(panel=MACHINE, metavar="N", help="Data-parallel workers of one run (train.num_workers)."),
]
UseGpu = Annotated[
    bool | None,
    typer.Option(
        "--use-gpu/--no-gpu",
        help="Default: GPUs if there are enough (train.use_gpu).",
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
GpusPerWorker = Annotated[
    float | None,
    option(panel=MACHINE, metavar="N", help="GPUs of each worker; may be a fraction (train.gpus_per_worker)."),
]
RayAddress = Annotated[
    str | None,
    option(
        panel=MACHINE,
        metavar="ADDRESS",
        envvar="RAY_ADDRESS",
        help="Cluster to join; 'auto': the one on this machine. Default, or 'local': one is started, and ends "
        "with the command.",
    ),
]
DashboardHost = Annotated[
    str | None,
    option(
        panel=MACHINE,
        metavar="HOST",
        help="Host that the dashboard of a started cluster listens on. Default: 127.0.0.1, for this machine alone.",
    ),
]
Name = Annotated[
    str | None,
    option(panel=OUTPUT, metavar="NAME", help="Folder under --results. Default: the command and the time."),
]
Results = Annotated[
    str,
    typer.Option(
        metavar="DIR|URI",
        help="Parent of the results folders; or a URI, as s3://bucket/results or gs://bucket/results.",
        rich_help_panel=OUTPUT,
    ),
]
Resume = Annotated[
    str | None,
    option(
        panel=OUTPUT,
        metavar="RESULT",
        help="Resume an interrupted run, as results/first or its URI, with the settings in its config.yaml.",
    ),
]
LogTo = Annotated[
    str | None,
    option(
        panel=OUTPUT,
        metavar="TRACKERS",
        help="Log also to experiment trackers, as tensorboard,mlflow: of tensorboard, mlflow, wandb, trackio, or none. "
        "Default: none; of a resumed run, those that it was logged to.",
    ),
]
NoReferences = Annotated[
    bool,
    typer.Option(
        "--no-references",
        help="Leave out plain GRPO (β = 0), fixed τ and β, and the warm start (tune.references).",
        rich_help_panel=WHAT,
    ),
]


@dataclass(frozen=True)
class RunOptions:
    """Options of every command that starts a run."""

    overrides: Overrides = None
    config: ConfigFile = None
    steps: Steps = None
    seed: Seed = None
    num_workers: Workers = None
    use_gpu: UseGpu = None
    gpus_per_worker: GpusPerWorker = None
    ray_address: RayAddress = None
    dashboard_host: DashboardHost = None
    name: Name = None
    results: Results = "results"
    resume: Resume = None
    log_to: LogTo = None

    def flags(self) -> dict[str, Any]:
        """Settings that the options stand for; None where an option was omitted."""
        names = ("steps", "seed", "num_workers", "use_gpu", "gpus_per_worker")
        return {f"train.{name}": getattr(self, name) for name in names}


def with_run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of :class:`RunOptions`; the command receives them as ``options``.

    Typer reads the signature: the command's own options stand between the first two fields and the others.
    """
    hints = get_type_hints(RunOptions, include_extras=True)
    shared = [
        Parameter(each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name])
        for each in fields(RunOptions)
    ]
    own = signature(command, eval_str=True)
    parameters = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in own.parameters.values()]
    parameters = [*shared[:2], *(each for each in parameters if each.name != "options"), *shared[2:]]

    @wraps(command)
    def run(**values: Any) -> Any:
        options = RunOptions(**{each.name: values.pop(each.name) for each in shared})
        return command(options=options, **values)

    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # functions have none declared
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run
