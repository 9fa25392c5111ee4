"""What went wrong with τ and β is said in the results; nothing is said when nothing did."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from maxent_ray.report.health import health_lines
from maxent_ray.report.summary import Summary, summarise
from maxent_ray.report.tables import comparison_markdown, print_comparison
from tests.report.results_folder import row, write_lines, write_results

ALARM = {
    "kind": "saturated",
    "coefficient": "tau",
    "message": "τ has been at its upper bound.",
    "figures": {"bound": 1.0},
}
LINE = "analytic-2: warning at step 37: τ has been at its upper bound."


def decision(
    step: int,
    reason: str = "updated",
    alarms: tuple[dict[str, Any], ...] = (),
    segment: int = 0,
    events: tuple[str, ...] = (),
) -> dict[str, Any]:
    values = {"step": step, "version": step + 1, "reason": reason, "alarms": alarms, "events": events}
    return {**values, "trial": "analytic-2", "segment": segment}


def summary_of(folder: Path, decisions: list[dict[str, Any]], locally: int = 0) -> Summary:
    write_results(folder, lineage=False, references=False, evaluations=False)
    rows = [row("analytic-2", "analytic", s, decided_locally=min(s, locally)) for s in range(120)]
    write_lines(folder / "rows.jsonl", rows)
    write_lines(folder / "decisions.jsonl", decisions)
    return summarise(folder)


def printed(summary: Summary) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_comparison(summary, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_alarms_and_degraded_steps_are_lines_of_the_results(tmp_path: Path) -> None:
    decisions = [decision(36), decision(37, alarms=(ALARM,)), decision(38, "non_finite")]
    summary = summary_of(tmp_path, decisions, locally=12)
    lines = [
        LINE,
        "analytic-2: 12 of 120 rounds were decided without the controller's actor (with the same outcome)",
        "analytic-2: 1 of 3 decisions changed nothing: what was measured was not finite",
    ]
    assert health_lines(summary) == lines
    assert all(f"! {line}" in printed(summary) for line in lines)
    assert all(f"- **{line}**" in comparison_markdown(summary) for line in lines)


def test_a_healthy_run_says_nothing(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [decision(step) for step in range(120)])
    assert health_lines(summary) == []
    assert "!" not in printed(summary)


def test_they_are_in_summary_json(tmp_path: Path) -> None:
    summary_of(tmp_path, [decision(37, alarms=(ALARM,))], locally=12)
    (trial,) = json.loads((tmp_path / "summary.json").read_text())["trials"]
    assert trial["warnings"] == [
        {"step": 37, "kind": "saturated", "coefficient": "tau", "message": "τ has been at its upper bound."}
    ]
    assert trial["decided_locally"] == 12


def test_a_step_that_was_trained_again_warns_once(tmp_path: Path) -> None:
    """After a resume the same round is decided a second time; a clone's later warning is its own."""
    again = [decision(37, alarms=(ALARM,)), decision(37, alarms=(ALARM,)), decision(50, alarms=(ALARM,), segment=1)]
    assert [line.split(":")[1] for line in health_lines(summary_of(tmp_path, again))] == [
        " warning at step 37",
        " warning at step 50",
    ]


def test_records_of_before_alarms_have_none(tmp_path: Path) -> None:
    old = {key: value for key, value in decision(1).items() if key != "alarms"}
    assert health_lines(summary_of(tmp_path, [old])) == []
