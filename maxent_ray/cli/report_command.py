"""The command ``maxent-ray report``: a run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maxent_ray.cli.options import OUTPUT, option

EPILOG = """Examples:

maxent-ray report results/first

maxent-ray report results/first --output first.html"""


def report(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS/NAME", help="Results folder of a run.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        option("--output", panel=OUTPUT, metavar="FILE", help="File to write. Default: RESULTS/NAME/report.html."),
    ] = None,
) -> None:
    """Write a run as one HTML file: curves, decisions, alarms, clones, tables, answers; to send, keep or print.

    It is the results page with the run's data inside: interactive, it opens in any browser without a server and
    fetches nothing. Long curves are thinned; the newest decisions are kept.
    """
    from rich.text import Text

    from maxent_ray.dashboard.report_file import write_report
    from maxent_ray.report.output import make_console

    make_console().print(Text(f"Report: {write_report(results, output)}"), soft_wrap=True)
