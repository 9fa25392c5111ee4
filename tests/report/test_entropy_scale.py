"""A run's ``entropy_scale`` in all that is shown of it: report, live table and page give the error of the metrics."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.relative_errors import relative_error
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.dashboard.answers import details, series
from maxent_ray.report.progress_table import TrialLine, progress_table
from maxent_ray.report.run_records import read_run
from maxent_ray.report.summary import build_summary
from tests.dashboard.pages import opened
from tests.report.results_folder import write_lines
from tests.report.rllib_folder import row, write_open_ended

FAR: dict[str, Any] = {"entropy": 0.3, "target_entropy": 0.1}


def written(folder: Path, **scale: float) -> Path:
    """A run that was at H = .3 for a target of .1 all along."""
    write_open_ended(folder)
    rows = [row(folder.name, "analytic", step, None, **FAR, **scale) for step in range(3)]
    if not scale:
        for each in rows:
            del each["entropy_scale"]
    write_lines(folder / "rows.jsonl", rows)
    return folder


@pytest.mark.parametrize(("scale", "expected"), [({"entropy_scale": 1.0}, 0.2), ({}, 2.0)], ids=["set", "older run"])
def test_report_and_page_have_the_error_of_the_controller(
    tmp_path: Path, scale: dict[str, float], expected: float
) -> None:
    config = ControllerConfig(entropy_signal="policy_entropy", target_entropy=0.1, **scale)  # type: ignore[arg-type]
    controller = Controller(config)
    _, decision = controller.step(controller.init(), BatchStatistics(tokens=10, policy_entropy_sum=3.0))
    error = relative_error(decision.entropy, decision.target_entropy, decision.entropy_scale)
    assert error == pytest.approx(expected)
    folder = written(tmp_path / "far", **scale)
    (trial,) = build_summary(read_run(folder)).trials
    assert trial.entropy_error == pytest.approx(expected)
    run = opened(folder)
    shown = details(run)["comparison"]["rows"][0]
    (described,) = [each for each in details(run)["signals"] if each["name"] == "entropy"]
    assert described["error_scale"] == "entropy_scale"
    assert series(run, ["entropy_scale"])[0]["value"] == [scale.get("entropy_scale")] * 3
    assert shown["entropy_error"]["value"] == pytest.approx(expected)


def test_the_live_table_colours_by_the_scale() -> None:
    def coloured(**values: float) -> str:
        line = TrialLine("a", "analytic", {**FAR, "entropy": 0.12, **values})
        console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system="standard")
        with console.capture() as capture:
            console.print(progress_table([line], 3, 120))
        return capture.get()

    assert "\x1b[32m0.12 / 0.10" in coloured(entropy_scale=1.0)  # 2 % off: green
    assert "\x1b[31m0.12 / 0.10" in coloured()  # 20 %: red
