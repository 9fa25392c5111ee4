"""Runs of RLlib on the page: returns and scores, no held-out metrics, every module under its own name."""

from __future__ import annotations

import json
from pathlib import Path

from maxent_ray.dashboard.answers import details, overview, series
from maxent_ray.report.run_records import read_run
from maxent_ray.report.summary import build_summary
from tests.dashboard.pages import opened
from tests.report.results_folder import write_results
from tests.report.rllib_folder import MODULES, STEPS, TRIALS, write_open_ended, write_population


def test_a_population_has_returns_and_nothing_held_out(tmp_path: Path) -> None:
    folder = write_population(tmp_path / "pop")
    answer = details(opened(folder))
    json.dumps(answer, allow_nan=False)
    assert (answer["kind"], answer["sparkline_of"], answer["metrics"], answer["held_out"]) == (
        "rllib",
        "episode return",
        [],
        [],
    )
    names = {signal["name"] for signal in answer["signals"]}
    assert "episode_return" in names and not names & {"reward", "coverage", "tied_share"}
    assert [column["key"] for column in answer["comparison"]["columns"]][:2] == ["label", "episode_return"]
    summary = build_summary(read_run(folder))
    values = [row["episode_return"]["value"] for row in answer["comparison"]["rows"]]
    analytic, own_rule = summary.objectives
    assert values == [analytic.score, analytic.score_all, own_rule.score, own_rule.score_all]
    assert {trial["trial"] for trial in answer["trials"]} == {f"{trial}/{m}" for trial in TRIALS for m in MODULES}
    assert answer["steps_total"] == len(TRIALS) * len(MODULES) * STEPS


def test_a_module_has_curves_of_its_own(tmp_path: Path) -> None:
    run = opened(write_population(tmp_path / "pop"))
    left, right = (series(run, ["episode_return"], trial=f"rllib/{module}")[0]["value"] for module in MODULES)
    assert [b - a for a, b in zip(left, right, strict=True)] == [1.0] * STEPS


def test_a_run_of_unknown_length_is_finished_once_nobody_writes(tmp_path: Path) -> None:
    run = opened(write_open_ended(tmp_path / "mine"))
    (tmp_path / "mine" / ".driver.lock").touch()
    run.refresh()
    found = overview(run)
    assert (found["kind"], found["steps_done"], found["steps_total"]) == ("rllib", 3, 0)
    assert found["sparkline"] == [None, 20.0, 40.0]


def test_a_run_with_groups_has_no_returns(tmp_path: Path) -> None:
    answer = details(opened(write_results(tmp_path / "demo")))
    names = {signal["name"] for signal in answer["signals"]}
    assert "reward" in names and "episode_return" not in names
    assert answer["sparkline_of"] == "reward"
