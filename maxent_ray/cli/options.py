"""Options that several commands share, and the names that some of them take."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

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
        help="Single settings, as weighting.kl_target=0.1; they win over the file and over options.",
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
    Path,
    typer.Option(metavar="DIR", help="Parent of the results folders.", rich_help_panel=OUTPUT),
]
Resume = Annotated[
    Path | None,
    option(
        panel=OUTPUT,
        metavar="RESULT",
        help="Resume an interrupted run, as results/first, with the settings in its config.yaml.",
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
