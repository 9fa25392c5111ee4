"""Tables of settings, and of single policies."""

from __future__ import annotations

import io
import math
from pathlib import Path

from rich.console import Console
from rich.table import Table

from maxent_ray.evaluation.held_out import HeldOutMetrics, PerPrompt
from maxent_ray.report.run_records import read_run
from maxent_ray.report.summary import build_summary
from maxent_ray.report.tables import held_out_table, points_table
from tests.report.results_folder import write_results


def lines_of(table: Table) -> dict[str, list[str]]:
    """First cell → the others."""
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as capture:
        console.print(table)
    cells = [line.split() for line in capture.get().splitlines() if line.strip()]
    return {first: rest for first, *rest in cells}


def test_every_point_of_a_sweep_has_its_values_and_its_figures(tmp_path: Path) -> None:
    summary = build_summary(read_run(write_results(tmp_path / "sweep")))
    lines = lines_of(points_table(summary))
    assert len([name for name in lines if name in {trial.trial for trial in summary.trials}]) == len(summary.trials)
    trial = summary.trial("analytic-2")
    assert trial.held_out is not None and trial.held_out.coverage.value is not None
    assert lines["analytic-2"][:2] == ["0.910", "0.090"]  # H* as a share of log G, KL*
    assert f"{trial.held_out.coverage.value:.3f}" in lines["analytic-2"]
    assert lines["grpo"][:2] == ["–", "–"]


def test_a_coverage_that_does_not_exist_is_a_dash() -> None:
    prompts = PerPrompt((0.5, 0.25), (1.0, 1.0), (1.0, 1.0), (math.nan, math.nan))
    lines = lines_of(held_out_table(HeldOutMetrics.of(prompts, samples=4)))
    assert lines["coverage@4"] == ["–", "–"]
    assert lines["mean@4"][0] == "0.375"
