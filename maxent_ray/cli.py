"""The ``maxent-ray`` command: options and help. What the commands do is in :mod:`maxent_ray.commands`.

Nothing here loads torch or Ray, so that ``--help`` answers at once.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from maxent_ray.errors import MaxentRayError

ERROR, INTERRUPTED = 2, 130
_WHAT, _SETTINGS, _MACHINE, _OUTPUT = "What to run", "Settings", "Machine", "Output"


class Objective(StrEnum):
    """What ``train`` optimises."""

    analytic = "analytic"
    truncated_backprop = "truncated_backprop"
    fixed = "fixed"
    grpo = "grpo"


class Mode(StrEnum):
    """How ``compare`` clones."""

    stratified = "stratified"
    tournament = "tournament"


class Search(StrEnum):
    """Which points ``sweep`` visits."""

    grid = "grid"
    random = "random"


class Commands(TyperGroup):
    """Errors that we raise on purpose end in one red line, and Ctrl-C in a line on how to go on."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        console = Console(stderr=True, soft_wrap=True)
        try:
            return super().invoke(ctx)
        except MaxentRayError as error:
            console.print(Text(f"error: {_message(error)}", style="red"))
            raise typer.Exit(ERROR) from None
        except KeyboardInterrupt as error:
            console.print(Text(str(error) or "interrupted", style="yellow"))
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Commands,
    name="maxent-ray",
    help="Train language models with maximum-entropy GRPO. A controller moves its temperature τ and its KL "
    "coefficient β so that entropy and KL stay on target.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    epilog="Start with:  maxent-ray compare --config experiments/configs/compare.yaml --name first",
)

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="YAML file of settings; what it leaves out keeps its default.",
        rich_help_panel=_SETTINGS,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SECTION.KEY=VALUE]...",
        help="Single settings, as weighting.kl_target=0.1; they win over the file.",
        show_default=False,
    ),
]
Steps = Annotated[
    int | None, typer.Option(help="Policy steps of one run (train.steps).", rich_help_panel=_SETTINGS)
]
Seed = Annotated[
    int | None,
    typer.Option(help="Seed of prompts, sampling and search (train.seed).", rich_help_panel=_SETTINGS),
]
Workers = Annotated[
    int | None,
    typer.Option(help="Data-parallel workers of one run (train.num_workers).", rich_help_panel=_MACHINE),
]
UseGpu = Annotated[
    bool | None,
    typer.Option(
        "--use-gpu/--no-gpu",
        help="GPUs or not; left out: if there are enough (train.use_gpu).",
        rich_help_panel=_MACHINE,
        show_default=False,
    ),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        help="GPUs of each worker, parts allowed (train.gpus_per_worker).", rich_help_panel=_MACHINE
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_ADDRESS",
        metavar="ADDRESS",
        help="Ray cluster to join ('auto': the one on this machine); left out: start a local one.",
        rich_help_panel=_MACHINE,
        show_default=False,
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        help="Folder of this run under --results; left out: the command and the time.",
        rich_help_panel=_OUTPUT,
        show_default=False,
    ),
]
Results = Annotated[
    Path, typer.Option(metavar="DIR", help="Where result folders go.", rich_help_panel=_OUTPUT)
]
Resume = Annotated[
    Path | None,
    typer.Option(
        metavar="RESULT",
        help="Go on with an interrupted run, as results/first; its settings are in its config.yaml.",
        rich_help_panel=_OUTPUT,
        show_default=False,
    ),
]


@app.command(
    epilog="Examples:\n\n"
    "maxent-ray compare --config experiments/configs/compare.yaml --name first\n\n"
    "maxent-ray compare --trials-per-objective 2 --steps 40 weighting.kl_target=0.1\n\n"
    "maxent-ray compare --resume results/first"
)
def compare(
    overrides: Overrides = None,
    config: ConfigFile = None,
    trials_per_objective: Annotated[
        int | None,
        typer.Option(help="Trials of each objective (tune.trials_per_objective).", rich_help_panel=_WHAT),
    ] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(
            help="stratified: clones stay inside their objective; tournament: they may change it (tune.mode).",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    references: Annotated[
        bool | None,
        typer.Option(
            "--references/--no-references",
            help="Also run plain GRPO (β = 0) and fixed τ, β, and evaluate the warm start (tune.references).",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    steps: Steps = None,
    seed: Seed = None,
    num_workers: Workers = None,
    use_gpu: UseGpu = None,
    gpus_per_worker: GpusPerWorker = None,
    ray_address: RayAddress = None,
    name: Name = None,
    results: Results = Path("results"),
    resume: Resume = None,
) -> None:
    """Compare the two objectives: population-based training of analytic and truncated-backprop controllers.

    Each objective has its own population; every few steps its worst trials take over policy and settings of
    its best and go on with changed settings. Ends with a table of held-out metrics, and writes into RESULTS/NAME:
    rows.jsonl (every step of every trial), decisions.jsonl, lineage.jsonl, evaluations.jsonl, summary.json,
    plots (*.png), config.yaml, and tune/ (what --resume needs).
    """
    from maxent_ray import commands

    place = commands.Place.of(name or commands.default_name("compare"), results, resume)
    flags = {
        **_shared(steps, seed, num_workers, use_gpu, gpus_per_worker),
        "tune.trials_per_objective": trials_per_objective,
        "tune.mode": mode and mode.value,
        "tune.references": references,
    }
    commands.compare(place, commands.settings(place, config, flags, overrides), ray_address)


@app.command()
def version() -> None:
    """Print the versions of maxent_ray and of what it runs on."""
    from maxent_ray import commands

    commands.version()


def main() -> None:
    """Entry point."""
    app()


def _shared(
    steps: int | None,
    seed: int | None,
    num_workers: int | None,
    use_gpu: bool | None,
    gpus_per_worker: float | None,
) -> dict[str, Any]:
    return {
        "train.steps": steps,
        "train.seed": seed,
        "train.num_workers": num_workers,
        "train.use_gpu": use_gpu,
        "train.gpus_per_worker": gpus_per_worker,
    }


def _message(error: MaxentRayError) -> str:
    """The message alone: an error that crossed Ray also carries the traceback of the other side."""
    from ray.exceptions import RayTaskError

    return str(error.cause) if isinstance(error, RayTaskError) else str(error)


if __name__ == "__main__":
    main()
