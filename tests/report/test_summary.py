"""Every number of a summary is worked out by hand from a folder that is written for it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from maxent_ray.errors import ConfigError
from maxent_ray.evaluation.bootstrap import bootstrap_interval, paired_interval
from maxent_ray.report.numbers import natural_key
from maxent_ray.report.run_records import read_run
from maxent_ray.report.summary import Summary, summarise
from maxent_ray.report.tables.sentences import footnotes
from maxent_ray.report.trial_summary import tracking_error
from tests.report.results_folder import STEPS, held_out, row, write_lines, write_results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results") / "whole")


@pytest.fixture(scope="module")
def summary(folder: Path) -> Summary:
    return summarise(folder, wall_seconds=100.0)


def small(folder: Path, rows: list[dict[str, Any]], **files: list[dict[str, Any]]) -> Path:
    write_results(folder, lineage=False, references=False, evaluations=False)
    write_lines(folder / "rows.jsonl", rows)
    write_lines(folder / "decisions.jsonl", [])
    for name, records in files.items():
        write_lines(folder / f"{name}.jsonl", records)
    return folder


class TestTrackingError:
    def test_is_the_size_of_the_mean_deviation_of_the_last_third(self, tmp_path: Path) -> None:
        # 6 steps: the last third is steps 5 and 6, where H/H* is 1.10 and 1.02 and KL/KL* is 0.4 and 0.8.
        entropies, kls = (9, 9, 9, 9, 2.2, 2.04), (9, 9, 9, 9, 0.02, 0.04)
        rows = [
            row(
                "analytic-0",
                "analytic",
                s,
                entropy=entropies[s],
                target_entropy=2.0,
                kl=kls[s],
                target_kl=0.05,
            )
            for s in range(6)
        ]
        trial = summarise(small(tmp_path, rows)).trial("analytic-0")
        assert trial.entropy_error == pytest.approx(0.06)
        assert trial.kl_error == pytest.approx(0.4)

    def test_follows_a_target_that_moves(self) -> None:
        # H = 1.1 H* at every step, whatever H* is, is 10 % off: deviations are relative step by step.
        assert tracking_error([(1.1 * h - h) / h for h in (2.0, 1.5, 1.2)]) == pytest.approx(0.1)

    def test_opposite_deviations_cancel_and_four_steps_have_a_third_of_two(self) -> None:
        assert tracking_error([5.0, 5.0, 0.3, -0.3]) == pytest.approx(0.0)

    def test_is_unknown_without_a_target(self) -> None:
        assert tracking_error([]) is None
        assert tracking_error([0.1, 0.1, None]) is None

    def test_of_an_objective_is_the_mean_over_its_trials(self, summary: Summary) -> None:
        errors = [t.kl_error for t in summary.trials if t.objective == "analytic"]
        assert len(errors) == 4
        assert summary.objectives[0].kl_error == pytest.approx(sum(e for e in errors if e is not None) / 4)


class TestReading:
    def test_a_torn_line_is_skipped_and_counted(self, tmp_path: Path) -> None:
        folder = small(tmp_path, [row("analytic-0", "analytic", s) for s in range(3)])
        with (folder / "rows.jsonl").open("a") as file:
            file.write('{"step": 3, "rank": 0, "objec\n[1, 2]\n\n{"trial": "τ')
        whole = (folder / "rows.jsonl").read_bytes()
        (folder / "rows.jsonl").write_bytes(whole[:-1])  # ends inside a two-byte character
        summary = summarise(folder)
        assert (summary.rows, summary.torn_lines, summary.trial("analytic-0").steps) == (3, 3, 3)

    def test_steps_that_were_trained_again_replace_the_first_attempt(self, tmp_path: Path) -> None:
        first = [row("analytic-0", "analytic", s, tau=1.0) for s in range(6)]
        again = [row("analytic-0", "analytic", s, tau=2.0) for s in range(4, 5)]
        records = read_run(small(tmp_path, first + again))
        points = records.points["analytic-0"]
        assert [(p.step, p["tau"]) for p in points] == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 2.0)]
        assert records.rows == 7

    def test_ranks_are_averaged(self, tmp_path: Path) -> None:
        rows = [
            row("analytic-0", "analytic", s, rank=r, coverage=0.2 + 0.2 * r)
            for s in range(2)
            for r in range(2)
        ]
        points = read_run(small(tmp_path, rows)).points["analytic-0"]
        assert [p["coverage"] for p in points] == pytest.approx([0.3, 0.3])

    def test_nan_infinity_and_none_are_unknown(self, tmp_path: Path) -> None:
        rows = [row("analytic-0", "analytic", s, coverage=math.nan, tau=math.inf, kl=None) for s in range(3)]
        trial = summarise(small(tmp_path, rows)).trial("analytic-0")
        assert (trial.score, trial.signals["tau"], trial.kl_error) == (None, None, None)

    def test_a_folder_without_configuration_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"has no config\.yaml"):
            summarise(tmp_path)

    def test_an_empty_run_has_an_empty_summary(self, tmp_path: Path) -> None:
        summary = summarise(small(tmp_path, []))
        assert (summary.trials, summary.objectives, summary.prompts) == ((), (), None)

    def test_trials_sort_by_number(self) -> None:
        assert sorted(["a-10", "a-2", "grpo"], key=natural_key) == ["a-2", "a-10", "grpo"]


class TestTrials:
    def test_clones_reasons_settings_and_steps(self, summary: Summary) -> None:
        trial = summary.trial("analytic-3")
        assert (trial.clones_received, trial.clones_donated, trial.steps) == (1, 1, STEPS)
        assert summary.trial("truncated_backprop-2").clones_donated == 2
        assert sum(trial.reasons.values()) == STEPS and set(trial.reasons) == {"clipped", "updated"}
        assert trial.settings["controller.target_kl"] == pytest.approx(0.11)
        assert trial.signals["seconds_per_step"] == pytest.approx(0.4)
        assert (summary.clones, summary.wall_seconds) == (4, 100.0)

    def test_a_trial_without_evaluation_is_unfinished(self, tmp_path: Path) -> None:
        folder = write_results(tmp_path / "cut")
        lines = (folder / "evaluations.jsonl").read_text().splitlines(keepends=True)
        (folder / "evaluations.jsonl").write_text(
            "".join(line for line in lines if '"analytic-3"' not in line)
        )
        summary = summarise(folder)
        assert summary.unfinished == ("analytic-3",)
        assert summary.trial("analytic-3").held_out is None
        assert summary.trial("analytic-3").settings["controller.target_kl"] == pytest.approx(
            0.07
        )  # from its clone
        assert summary.objectives[0].best_trial == "analytic-2"  # the best of those that can be shown
        assert summary.objectives[0].finished == ("analytic-0", "analytic-1", "analytic-2")

    def test_decided_locally_are_counted_anew_in_every_segment(self, tmp_path: Path) -> None:
        counts = ((0, 0), (0, 2), (1, 0), (1, 3))
        rows = [
            row("analytic-0", "analytic", s, segment=g, decided_locally=n)
            for s, (g, n) in enumerate(counts)
        ]
        assert summarise(small(tmp_path, rows)).trial("analytic-0").signals["decided_locally"] == 5

    def test_decided_locally_of_attempts_before_a_restart_are_counted_too(self, tmp_path: Path) -> None:
        """Step, rank and count of rows as they were recorded: three attempts, each from 0, of two ranks."""
        recorded = [(s, r, n) for s, held in enumerate(((0, 0), (1, 0), (2, 1))) for r, n in enumerate(held)]
        recorded += [(2, 0, 0), (2, 1, 0), (3, 0, 0), (3, 1, 3)]  # went back to step 2
        recorded += [(4, 0, 1), (4, 1, 0), (5, 0, 1), (5, 1, 1)]  # went on where it was
        rows = [row("analytic-0", "analytic", s, rank=r, decided_locally=n) for s, r, n in recorded]
        assert summarise(small(tmp_path, rows)).trial("analytic-0").signals["decided_locally"] == 2 + 3 + 1

    def test_a_resumed_run_without_outages_counts_none(self, tmp_path: Path) -> None:
        rows = [row("analytic-0", "analytic", step) for step in (0, 1, 2, 1, 2, 3, 0, 1)]
        assert summarise(small(tmp_path, rows)).trial("analytic-0").signals["decided_locally"] == 0

    def test_failed_unrolls_are_counted_and_noted(self, tmp_path: Path) -> None:
        rows = [row("analytic-0", "analytic", step, failed_unrolls=n) for step, n in enumerate((0, 1, 3))]
        found = summarise(small(tmp_path, rows))
        assert found.trial("analytic-0").signals["failed_unrolls"] == 3
        again = [row("analytic-0", "analytic", step, failed_unrolls=n) for step, n in ((2, 0), (3, 1))]
        assert summarise(small(tmp_path, rows + again)).trial("analytic-0").signals["failed_unrolls"] == 4
        assert any("3 unroll(s) of truncated backprop ran out of memory" in note for note in footnotes(found))


class TestObjectives:
    def test_come_in_a_fixed_order(self, summary: Summary) -> None:
        names = [o.objective for o in summary.objectives]
        assert names == ["analytic", "truncated_backprop", "warm_start", "grpo", "fixed"]
        assert [o.reference for o in summary.objectives] == [False, False, True, True, True]

    def test_the_best_trial_has_the_best_training_score_whatever_its_held_out_metrics(
        self, tmp_path: Path
    ) -> None:
        # Over the last 20 steps trial 0 leads, before that and on held-out prompts trial 1.
        rows = [row("analytic-0", "analytic", s, coverage=0.1 if s < 10 else 0.5) for s in range(30)]
        rows += [row("analytic-1", "analytic", s, coverage=0.9 if s < 10 else 0.4) for s in range(30)]
        evaluations = [
            {
                "trial": f"analytic-{i}",
                "objective": "analytic",
                "settings": {},
                "metrics": held_out(0.2 + 0.5 * i, 0.4, i),
            }
            for i in range(2)
        ]
        summary = summarise(small(tmp_path, rows, evaluations=evaluations))
        best = summary.objectives[0]
        assert best.best_trial == "analytic-0"
        assert summary.trial("analytic-0").score == pytest.approx(0.5)
        assert best.held_out == summary.trial("analytic-0").held_out

    def test_intervals_are_bootstraps_over_prompts(self, folder: Path, summary: Summary) -> None:
        runs = {e.trial: e.metrics for e in read_run(folder).evaluations.values()}
        best = summary.objectives[0]
        values = runs[best.best_trial].per_prompt.coverage
        assert (
            best.held_out is not None and best.against_baseline is not None and best.held_out_all is not None
        )
        assert best.held_out.coverage.value == pytest.approx(sum(values) / len(values))
        assert (best.held_out.coverage.low, best.held_out.coverage.high) == bootstrap_interval(values)
        other = runs["grpo"].per_prompt.coverage
        difference = best.against_baseline.coverage
        assert difference.value == pytest.approx((sum(values) - sum(other)) / len(values))
        assert (difference.low, difference.high) == paired_interval(values, other)
        mean_of_all = sum(runs[f"analytic-{i}"].coverage for i in range(4)) / 4
        assert best.held_out_all.coverage.value == pytest.approx(mean_of_all)

    def test_equal_prompts_have_an_interval_of_no_width(self, tmp_path: Path) -> None:
        metrics = held_out(0.3, 0.4, 1, prompts=4)
        metrics["per_prompt"] = {name: [0.5] * 4 for name in metrics["per_prompt"]}
        record = {"trial": "grpo", "objective": "grpo", "settings": {}, "metrics": metrics}
        estimate = summarise(small(tmp_path, [], evaluations=[record])).objectives[0].held_out
        assert estimate is not None
        assert (estimate.mean.value, estimate.mean.low, estimate.mean.high) == (0.5, 0.5, 0.5)

    def test_without_plain_grpo_nothing_is_paired(self, tmp_path: Path) -> None:
        summary = summarise(write_results(tmp_path / "alone", references=False))
        assert [o.against_baseline for o in summary.objectives] == [None, None]

    def test_a_taken_over_objective_counts_for_the_new_one(self, tmp_path: Path) -> None:
        rows = [row("analytic-0", "analytic" if s < 5 else "truncated_backprop", s) for s in range(9)]
        assert [o.objective for o in summarise(small(tmp_path, rows)).objectives] == ["truncated_backprop"]


def test_the_file_is_strict_json_with_null_for_what_is_unknown(tmp_path: Path) -> None:
    rows = [row("analytic-0", "analytic", s, seconds=math.nan, kl=math.nan) for s in range(3)]
    metrics = held_out(0.3, 0.4, 1, prompts=8)
    metrics["per_prompt"]["coverage"] = [None] * 8
    record = {
        "trial": "analytic-0",
        "objective": "analytic",
        "settings": {"a.b": math.nan},
        "metrics": metrics,
    }
    folder = small(tmp_path, rows, evaluations=[record])
    summarise(folder)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    written = json.loads((folder / "summary.json").read_text(), parse_constant=refuse)
    assert written["schema"] == 1
    trial = written["trials"][0]
    assert (
        trial["seconds_per_step"] is None and trial["kl_error"] is None and trial["settings"] == {"a.b": None}
    )
    assert trial["held_out"]["coverage"] == {"value": None, "low": None, "high": None}
    assert trial["held_out"]["mean"]["value"] is not None
