"""Measures of control, and its report, on made-up rows; the runs behind its tables are not repeated here."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))

import control
from control_measures import centred_means, digest, measure, meets, noise_at_rest, rows_of, soonest


def rows(ratios: list[float], beta: float = 0.1) -> list[dict[str, Any]]:
    return [{"kl": 0.05 * r, "target_kl": 0.05, "entropy": 1.9, "target_entropy": 2.0, "beta": beta} for r in ratios]


def test_windows_are_centred_and_cut_at_the_ends() -> None:
    assert centred_means([0.0, 3.0, 6.0, 9.0], 3) == [1.5, 3.0, 6.0, 7.5]


@pytest.mark.parametrize("falls", [False, True], ids=["rises", "falls"])
def test_overshoot_is_beyond_the_target_in_the_direction_of_the_way(falls: bool) -> None:
    sign = -1 if falls else 1
    ratios = [1 - sign * math.exp(-k / 8) + sign * 0.5 * (20 <= k < 25) for k in range(200)]
    found = measure(rows(ratios), falls)
    assert found.overshoot == pytest.approx(0.5 - math.exp(-22 / 8), abs=0.01)
    assert found.slow_overshoot is not None and found.slow_overshoot < 0.5 * 5 / 21  # the bump is 5 of 21 steps
    assert measure(rows([1.0] * 100 + [2.0] * 100)).overshoot == pytest.approx(0.0)  # too late to be of the start


def test_an_overshoot_counts_from_where_the_target_is_reached() -> None:
    late = measure(rows([0.5] * 80 + [1.3] * 40))
    assert late.overshoot == pytest.approx(0.3)
    never = measure(rows([0.5] * 120))
    assert (never.overshoot, never.slow_overshoot) == (None, None)
    assert control.medians([rows([0.5] * 120), rows([1.3] * 120)])["overshoot"] == pytest.approx(0.3)
    row = {"start": "right", "objective": "analytic", **control.medians([rows([0.5] * 120)])}
    assert not meets(row)["overshoot"]
    assert "| never there \\* | never there |" in control.table([row], control.NAMES)


def test_swings_are_factors_of_beta_around_its_middle() -> None:
    swinging = [rows([1.0], beta=0.1 * (2 if step % 2 else 0.5))[0] for step in range(100)]
    assert measure(swinging).swing == pytest.approx(2.0)


def test_it_has_settled_when_ten_means_in_a_row_are_within_ten_per_cent() -> None:
    step = measure(rows([0.0] * 30 + [1.0] * 100))
    assert step.settled == 30 + 8  # at 38 two of the 21 steps around are 0: 9.5 % off
    assert measure(rows([0.5] * 80)).settled == 80


def test_the_soonest_step_is_that_of_a_mean() -> None:
    assert soonest([0.0] * 30 + [0.2] * 60, 0.2) == 30 + 8
    assert soonest([0.1] * 50, 0.2) == 50


def test_steady_errors_are_of_the_second_half_and_the_largest_step_is_a_factor() -> None:
    found = measure([*rows([9.0] * 100, beta=0.4), *rows([1.1] * 100)])
    assert (found.kl_error, found.entropy_error) == pytest.approx((0.1, -0.05))
    assert found.largest_step == pytest.approx(4.0)


def test_noise_at_rest_is_relative_to_the_mean_there() -> None:
    assert noise_at_rest(rows([0.0] * 100 + [2.0] * 60)) == pytest.approx(0.0)
    assert noise_at_rest(rows([1.0] * 59 + [6.0])) > 0.5


def test_a_start_that_is_too_low_has_a_wider_bar() -> None:
    row = {"overshoot": 0.2, "settled": 20, "entropy_error": 0.02, "kl_error": 0.05, "largest_step": 3.00006}
    assert meets({**row, "start": "too low"}) == {
        "overshoot": True, "settled": True, "H": False, "KL": True, "step": True
    }  # fmt: skip
    assert not meets({**row, "start": "right"})["overshoot"]
    assert not meets({**row, "start": "right", "largest_step": 3.002})["step"]


def test_a_digest_keeps_what_is_measured() -> None:
    full = [{**row, "tau": 0.123456789, "reward": 0.3} for row in rows([0.5, 1.0, 1.2])]
    kept = digest({"overrides": ["a=1"], "then": [], "rows": full, "held_out": {}})
    assert set(kept) == {"overrides", "then", "columns"}
    assert [row["tau"] for row in rows_of(kept)] == [0.12346] * 3
    assert measure(rows_of(kept))[3:] == pytest.approx(measure(full)[3:])


def test_missing_runs_are_named_and_the_others_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["control.py", "--output", str(tmp_path), "--report-only", "--seeds", "0", "--steps", "40"]
    monkeypatch.setattr(sys, "argv", arguments)
    control.main()
    assert "no run is finished yet" in capsys.readouterr().out
    (tmp_path / "runs").mkdir(exist_ok=True)
    settings = argparse.Namespace(
        **{"steps": 40, "task": "countdown", "tau": 0.12, "beta": 0.04, "set": []},
        **{"target_entropy_fraction": 0.8, "target_kl": 0.2},
    )
    made = [{**row, "tau": 0.1} for row in rows([0.0] * 10 + [1.0] * 30)]
    for label, start in (("analytic-right-0", "right"), ("analytic-doubled-0", "doubled")):
        record = {
            "overrides": control.overrides(settings, "analytic", start, 0),
            "then": control.changes(settings, start),
            "rows": made,
        }
        (tmp_path / "runs" / f"{label}.json").write_text(json.dumps(digest(record)))
    control.main()
    assert "14 runs are missing" in capsys.readouterr().out
    (right, half, doubled) = json.loads((tmp_path / "summary.json").read_text())["medians"]
    assert [row["start"] for row in (right, half, doubled)] == ["right", "half", "doubled"]
    assert [row["settled"] for row in (right, half, doubled)] == [18, 20, 0]  # 18: two of 20 steps are off
    assert "| analytic | τ, β as settled |" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "trajectories.png").stat().st_size > 10_000


def test_a_change_of_target_is_between_it_and_its_half() -> None:
    settings = argparse.Namespace(steps=200, target_kl=0.2)
    assert control.changes(settings, "doubled") == [["train.steps=100", "controller.target_kl=0.2"]]
    assert control.changes(settings, "halved") == [["train.steps=100", "controller.target_kl=0.1"]]
    assert control.changes(settings, "right") == []
