from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from maxent_ray.evaluation.metric_intervals import Estimate, HeldOut
from maxent_ray.report.summary import Summary, summarise
from maxent_ray.report.tables import comparison_markdown, print_comparison
from maxent_ray.report.tables.comparison import comparison_lines, difference_table
from maxent_ray.report.tables.sentences import footnotes, verdicts
from tests.report.results_folder import write_results


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return summarise(write_results(tmp_path_factory.mktemp("results") / "whole"), wall_seconds=503.0)


def printed(summary: Summary, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    print_comparison(summary, console)
    return console.export_text()


def differences(value: float, low: float, high: float) -> HeldOut:
    none = Estimate(0.01, -0.02, 0.04)
    return HeldOut(none, none, none, Estimate(value, low, high))


def test_rows_are_best_trials_means_and_references(summary: Summary) -> None:
    assert [line.label for line in comparison_lines(summary)] == [
        "analytic, best trial",
        "analytic, mean of 4",
        "truncated backprop, best trial",
        "truncated backprop, mean of 4",
        "warm start",
        "plain GRPO (β = 0)",
        "fixed τ, β",
    ]


def test_a_cell_is_a_value_with_its_interval(summary: Summary) -> None:
    best = summary.objectives[0]
    estimates = HeldOut(
        Estimate(0.4, 0.35, 0.4512),
        Estimate(1.0, 1.0, 1.0),
        Estimate(1.75, 0.98, 2.5),
        Estimate(None, None, None),
    )
    shown = replace(
        summary, objectives=(replace(best, held_out=estimates, entropy_error=0.0123, kl_error=None),)
    )
    first = comparison_lines(shown)[0]
    assert first.held_out == (
        (".400", "[.350, .451]"),
        ("1.000", "[1.000, 1.000]"),
        ("1.750", "[.980, 2.500]"),
        ("–", ""),
    )
    assert (first.entropy_error, first.kl_error, first.seconds) == ("1.2 %", "–", "0.40")


@pytest.mark.parametrize("width", [80, 100, 140])
def test_nothing_is_lost_on_a_narrow_terminal(summary: Summary, width: int) -> None:
    text = printed(summary, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for needed in (
        "mean@8",
        "pass@8",
        "distinct@8",
        "coverage@8",
        "tracking",
        "s/step",
        "KL 3.",
        "0.70",
        "8:23",
    ):
        assert needed in text
    for setting in ("controller.target_kl", "controller.update_interval", "τ at the end"):
        assert setting in text


def test_a_verdict_needs_an_interval_without_zero(summary: Summary) -> None:
    best = replace(summary.objectives[0], against_baseline=differences(0.12, 0.08, 0.16))
    assert verdicts(replace(summary, objectives=(best,))) == [
        "analytic, best trial against plain GRPO: coverage@8 higher by 0.120 (0.080 to 0.160); "
        "no clear difference in mean@8, pass@8 and distinct@8."
    ]
    worse = replace(best, against_baseline=differences(-0.12, -0.16, -0.08))
    assert "coverage@8 lower by 0.120 (0.080 to 0.160)" in verdicts(replace(summary, objectives=(worse,)))[0]
    touching = replace(best, against_baseline=differences(0.1, 0.0, 0.2))
    assert verdicts(replace(summary, objectives=(touching,))) == [
        "analytic, best trial against plain GRPO: "
        "no clear difference in mean@8, pass@8, distinct@8 and coverage@8."
    ]


def test_markdown_has_every_row_and_says_how_the_choice_was_made(summary: Summary) -> None:
    page = comparison_markdown(summary)
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert len(tables) == (2 + 7) + (2 + 4) + (2 + 7)
    assert {line.count("|") for line in tables[:9]} == {9}
    assert "highest coverage@8 on its training prompts over its last 20 steps" in page
    assert "| plain GRPO (β = 0) | " in page
    assert "\x1b" not in page


def test_interruptions_are_said(summary: Summary) -> None:
    cut = replace(summary, unfinished=("analytic-1", "fixed"), torn_lines=2)
    notes = " ".join(footnotes(cut))
    assert "Unfinished, without a held-out evaluation: analytic-1 and fixed." in notes
    assert "2 line(s)" in notes


def test_an_unfinished_run_has_dashes_and_no_differences(tmp_path: Path) -> None:
    summary = summarise(write_results(tmp_path / "early", evaluations=False, references=False))
    assert {line.held_out for line in comparison_lines(summary)} == {(("–", ""),) * 4}
    assert difference_table(summary) is None and verdicts(summary) == []
    assert "Unfinished" in printed(summary, 100)
