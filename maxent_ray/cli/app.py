"""The ``maxent-ray`` command: options and help. The commands are implemented in :mod:`maxent_ray.cli.commands`.

This module loads neither torch nor Ray, so that ``--help`` responds at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from maxent_ray.cli import dashboard_command, report_command
from maxent_ray.cli.exit_status import ExitStatus
from maxent_ray.cli.options import (
    OUTPUT,
    SETTINGS,
    WHAT,
    ConfigFile,
    Mode,
    NoReferences,
    Objective,
    Overrides,
    RunOptions,
    Scheduler,
    Search,
    UseGpu,
    option,
    with_run_options,
)
from maxent_ray.cli.results_command import results
from maxent_ray.cli.termination import Terminated
from maxent_ray.errors import MaxentRayError
from maxent_ray.report.output import make_console, spell_for_terminal


class Commands(TyperGroup):
    """Command group that shows our own errors in one red line, and after Ctrl-C the command to resume."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; its outcome becomes the exit status, our errors and Ctrl-C one line besides."""
        try:
            status = super().invoke(ctx)
        except MaxentRayError as error:
            _print_last(f"error: {_message(error)}", "red")
            raise typer.Exit(ExitStatus.of(error)) from None
        except KeyboardInterrupt as interrupt:
            _print_last(str(interrupt) or "interrupted", "yellow")
            terminated = isinstance(interrupt, Terminated)
            raise typer.Exit(ExitStatus.TERMINATED if terminated else ExitStatus.INTERRUPTED) from None
        if status:
            raise typer.Exit(status)
        return status


def _print_last(line: str, style: str) -> None:
    make_console(stderr=True).print(Text(line, style=style), soft_wrap=True)


app = typer.Typer(
    cls=Commands,
    name="maxent-ray",
    help="Train language models with maximum-entropy GRPO. A controller moves its temperature τ and its KL "
    "coefficient β so that entropy and KL stay on target.\n\n"
    "Settings come from --config FILE (experiments/configs has some to start from), then from options, then from "
    "single settings as train.steps=80. Every result folder has all of them in its config.yaml.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    epilog="Start with:\n\nmaxent-ray compare --config experiments/configs/compare.yaml --name first",
)


@app.command(
    epilog="Examples:\n\n"
    "maxent-ray train --config experiments/configs/train.yaml --name mine\n\n"
    "maxent-ray train --objective truncated_backprop --num-workers 2 controller.target_kl=0.1\n\n"
    "maxent-ray train --resume results/mine --steps 240\n\n"
    "maxent-ray eval --model results/mine/policy"
)
@with_run_options
def train(
    options: RunOptions,
    objective: Annotated[
        Objective | None,
        option(
            panel=WHAT,
            metavar="OBJECTIVE",
            help="analytic, truncated_backprop, fixed (τ and β stay) or grpo (plain GRPO with β = 0).",
        ),
    ] = None,
) -> ExitStatus:
    r"""Train one policy, on one or several workers, with checkpoints.

    A worker that dies is started again from the last checkpoint. Ends with a table of held-out metrics before and
    after, and writes into RESULTS/NAME:

    - policy/: the trained policy, a Hugging Face folder
    - rows.jsonl: every step of every worker; decisions.jsonl: why τ and β moved
    - evaluations.jsonl: held-out metrics; samples.jsonl: answers to the first held-out prompts
    - summary.json, plots (\*.png), config.yaml
    - train/: the checkpoints that --resume needs
    """
    from maxent_ray.cli import commands

    flags = commands.OBJECTIVES[objective.value] if objective else {}
    return _run(commands.train, options, flags)


@app.command(
    epilog="Examples:\n\n"
    "maxent-ray compare --config experiments/configs/compare.yaml --name first\n\n"
    "maxent-ray compare --trials-per-objective 2 --steps 40 controller.target_kl=0.1\n\n"
    "maxent-ray compare --resume results/first"
)
@with_run_options
def compare(
    options: RunOptions,
    trials_per_objective: Annotated[
        int | None, option(panel=WHAT, metavar="N", help="Size of each population (tune.trials_per_objective).")
    ] = None,
    mode: Annotated[
        Mode | None,
        option(
            panel=WHAT,
            metavar="MODE",
            help="stratified: clones stay in their population; tournament: they may change it (tune.mode).",
        ),
    ] = None,
    no_references: NoReferences = False,
) -> ExitStatus:
    r"""Compare objectives, by default analytic and truncated backprop, by population-based training.

    Each objective has its own population. Every few steps the worst trials of a population take over policy and
    settings of its best, and continue with changed settings. Ends with a table of held-out metrics, and writes into
    RESULTS/NAME:

    - rows.jsonl: every step of every trial; decisions.jsonl: why τ and β moved
    - evaluations.jsonl: held-out metrics; samples.jsonl: answers to the first held-out prompts
    - lineage.jsonl: who was cloned from whom
    - summary.json, plots (\*.png), config.yaml
    - tune/: what --resume needs
    """
    from maxent_ray.cli import commands

    flags = {
        "tune.trials_per_objective": trials_per_objective,
        "tune.mode": mode and mode.value,
        "tune.references": False if no_references else None,
    }
    return _run(commands.compare, options, flags)


@app.command(
    epilog="Examples:\n\n"
    "maxent-ray sweep --config experiments/configs/sweep.yaml --name targets\n\n"
    "maxent-ray sweep --search random --samples 6 --steps 40 'tune.objectives=[analytic]'\n\n"
    "maxent-ray sweep --search optuna --samples 20 --scheduler asha\n\n"
    "maxent-ray sweep --resume results/targets"
)
@with_run_options
def sweep(
    options: RunOptions,
    search: Annotated[
        Search | None,
        option(
            panel=WHAT,
            metavar="SEARCH",
            help="grid: every combination of values; random: drawn from their domains; optuna: proposed from the "
            "results of earlier points (tune.search).",
        ),
    ] = None,
    samples: Annotated[
        int | None, option(panel=WHAT, metavar="N", help="Points of a random or an Optuna search (tune.samples).")
    ] = None,
    scheduler: Annotated[
        Scheduler | None,
        option(
            panel=WHAT,
            metavar="SCHEDULER",
            help="fifo: every trial trains to its end; asha: the lowest are stopped early (tune.scheduler).",
        ),
    ] = None,
    no_references: NoReferences = False,
) -> ExitStatus:
    """Train every objective at every point of a search over targets and update rules.

    The targets searched over are those that tune.search_space names, the objectives those of tune.objectives. No
    trial is cloned. Ends with a heat map over the targets, the Pareto front of mean@8 and coverage@8, and the table of
    compare. Writes the same files, and targets.png and pareto.png.
    """
    from maxent_ray.cli import commands

    flags = {
        "tune.search": search and search.value,
        "tune.samples": samples,
        "tune.scheduler": scheduler and scheduler.value,
        "tune.references": False if no_references else None,
    }
    return _run(commands.sweep, options, flags)


@app.command(
    "eval",
    epilog="Examples:\n\n"
    "maxent-ray eval --model embedded\n\n"
    "maxent-ray eval --model results/mine/policy --prompts 256 --output results/mine/eval.json",
)
def evaluate(
    overrides: Overrides = None,
    config: ConfigFile = None,
    model: Annotated[
        str | None,
        option(
            panel=WHAT,
            metavar="MODEL",
            help="'embedded' (the task's warm start), a Hugging Face folder or name. Default: policy.model.",
        ),
    ] = None,
    prompts: Annotated[
        int | None, option(panel=WHAT, metavar="N", help="Held-out prompts (evaluation.prompts).")
    ] = None,
    samples: Annotated[
        int | None, option(panel=WHAT, metavar="K", help="Answers to each prompt (evaluation.samples).")
    ] = None,
    seed: Annotated[
        int | None, option(panel=SETTINGS, metavar="N", help="Seed of the sampling (evaluation.seed).")
    ] = None,
    use_gpu: UseGpu = None,
    output: Annotated[
        Path | None,
        option(
            panel=OUTPUT, metavar="FILE", help="Also write the figures, prompt by prompt, and some answers, as JSON."
        ),
    ] = None,
) -> None:
    """Measure a policy on held-out prompts: mean@k, pass@k, distinct@k and coverage@k with 95 % intervals.

    Prompts and seed are those of the evaluations in train and compare, so the figures can be compared. Does not need
    Ray.
    """
    from maxent_ray.cli import commands
    from maxent_ray.cli.run_location import RunLocation

    flags = {
        "policy.model": model,
        "evaluation.prompts": prompts,
        "evaluation.samples": samples,
        "evaluation.seed": seed,
        "train.use_gpu": use_gpu,
    }
    location = RunLocation.of("eval", Path("results"), None)
    commands.evaluate(commands.settings(location, config, flags, overrides), output)


@app.command()
def version() -> None:
    """Print the versions of maxent_ray and of its main dependencies."""
    from maxent_ray.cli import commands

    commands.version()


@app.command(epilog="Examples:\n\nmaxent-ray watch results/first\n\nmaxent-ray watch results/first --once")
def watch(
    folder: Annotated[Path, typer.Argument(metavar="RESULT", help="Results folder of a run, as results/first.")],
    once: Annotated[bool, typer.Option("--once", help="Print the picture as it is now, and end.")] = False,
) -> None:
    """Show a run in the terminal while another process trains it, or after it: q or Ctrl-C ends it.

    Reads the records in RESULT, so it works on every machine that has them, over ssh, and on copied results. Shows
    status, progress, all trials, curves of H, KL, τ and β, alarms, decisions and held-out metrics. Without a terminal
    it prints the picture once.
    """
    from maxent_ray.cli.watch_command import watch

    watch(folder, once=once)


app.add_typer(results)
app.command(epilog=dashboard_command.EPILOG)(dashboard_command.dashboard)
app.command(epilog=report_command.EPILOG)(report_command.report)


def main(*command: str) -> None:
    """Entry point; a script for a single command names it, and passes its own arguments on."""
    spell_for_terminal()
    app(args=[*command, *sys.argv[1:]])


def _run(command: Callable[..., ExitStatus], options: RunOptions, flags: Mapping[str, Any]) -> ExitStatus:
    """Run a command with its location, settings, cluster and trackers."""
    from maxent_ray.cli import commands
    from maxent_ray.cli.cluster_options import ClusterOptions
    from maxent_ray.cli.remote_run import run_location
    from maxent_ray.trackers import choose_trackers

    name = options.name or commands.default_name(command.__name__)
    with run_location(name, options.results, options.resume) as location:
        config = commands.settings(location, options.config, {**options.flags(), **flags}, options.overrides)
        cluster = ClusterOptions(options.ray_address, options.dashboard_host)
        return command(location, config, cluster, choose_trackers(location.folder, options.log_to))


def _message(error: MaxentRayError) -> str:
    """Message of an error, without the traceback that an error from a Ray worker carries."""
    from maxent_ray.runtime.remote_errors import cause_of

    return cause_of(error).message
