"""Runs of RLlib in summaries, tables, plots and the live view: with returns, without what they do not have."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from maxent_ray.config import load_recorded
from maxent_ray.errors import ConfigError
from maxent_ray.report.live.live_run import LiveRun
from maxent_ray.report.live.view import picture
from maxent_ray.report.plots import RLLIB_PLOTS, draw_plots
from maxent_ray.report.run_records import read_run
from maxent_ray.report.run_status import failed_trials
from maxent_ray.report.summary import build_summary, summarise
from maxent_ray.report.tables import comparison_markdown, print_comparison
from maxent_ray.storage.driver_lock import driver_lock
from tests.report.rllib_folder import INTERVAL, MODULES, STEPS, write_open_ended, write_population

LAST = 10.0 * (STEPS - (INTERVAL + 1) / 2)
"""Mean return of ``analytic-0``'s left module over the last interval."""


def live_text(folder: Path) -> str:
    run = LiveRun(folder)
    run.update()
    console = Console(file=io.StringIO(), width=120)
    with console.capture() as capture:
        console.print(picture(run, 120))
    return capture.get()


def test_modules_are_summarised_each_with_its_return_and_its_clones(tmp_path: Path) -> None:
    summary = build_summary(read_run(write_population(tmp_path / "pop")))
    trial = summary.trial("analytic-0/left")
    assert (trial.score, trial.finished, trial.held_out, trial.clones_received) == (LAST, True, None, 1)
    assert trial.entropy_error == pytest.approx(0.2) and trial.kl_error == pytest.approx(0.2)
    analytic, own_rule = summary.objectives
    assert (analytic.best_trial, analytic.score, analytic.score_all) == ("analytic-1/right", LAST + 2, LAST + 1)
    assert (own_rule.objective, own_rule.reference) == ("rllib", True)
    assert (summary.group_size, summary.samples, summary.unfinished) == (None, None, ())
    assert summary.sweep is None


def test_tables_have_the_return_and_say_nothing_of_held_out_prompts(tmp_path: Path) -> None:
    folder = write_population(tmp_path / "pop")
    summary = summarise(folder)
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as capture:
        print_comparison(summary, console)
    for text in (capture.get(), comparison_markdown(summary)):
        assert "episode return" in text and f"{LAST + 2:.1f}" in text and "RLlib's own rule" in text
        assert "held-out" not in text.lower() and "@" not in text
    assert json.loads((folder / "summary.json").read_text())["metric"] == "episode_return"


def test_plots_are_drawn(tmp_path: Path) -> None:
    drawn = draw_plots(write_population(tmp_path / "pop"), RLLIB_PLOTS)
    assert [path.stem for path in drawn] == list(RLLIB_PLOTS)


def test_the_live_view_shows_a_population(tmp_path: Path) -> None:
    folder = write_population(tmp_path / "pop", finished=False)
    with driver_lock(folder):
        text = live_text(folder)
    assert "analytic-1/right" in text and f"{STEPS}/{STEPS}" in text and "52.00" in text
    assert "held-out" not in text


def test_a_run_of_unknown_length_has_ended_when_its_driver_has(tmp_path: Path) -> None:
    folder = write_open_ended(tmp_path / "mine")
    with driver_lock(folder):
        assert "running" in live_text(folder)
    text = live_text(folder)
    assert "finished" in text and "done" in text and "3 steps" in text and "%" not in text
    assert build_summary(read_run(folder)).unfinished == ()


def test_a_trial_that_failed_once_and_finished_has_not_failed(tmp_path: Path) -> None:
    folder = write_population(tmp_path / "pop")
    for trial in ("analytic-0", "rllib"):
        (folder / "tune" / trial).mkdir(parents=True)
        (folder / "tune" / trial / "error.txt").write_text("RuntimeError: gone\n")
    done = [f"analytic-0/{module}" for module in MODULES]
    assert failed_trials(folder, done) == {"rllib": "RuntimeError: gone"}


def test_an_unknown_setting_of_a_recorded_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("rllib: {algorithm: PPO, lerner: 1}\n")
    with pytest.raises(ConfigError, match=r"rllib\.lerner"):
        load_recorded(tmp_path / "config.yaml")
