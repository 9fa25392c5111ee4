"""The experiments' verdicts, on records with known answers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))

import control
import objectives
import versus_grpo


def record(coverage: list[float], rate: float = 0.5) -> dict[str, object]:
    values = {"mean": [rate] * len(coverage), "pass_rate": coverage, "distinct": coverage, "coverage": coverage}
    return {"held_out": {"per_prompt": values}}


def test_errors_are_relative_and_over_the_last_steps_only() -> None:
    targets = {"target_entropy": 2.0, "target_kl": 0.1}
    wild = [{"entropy": 9.0, "kl": 9.0, "tau": 1.0, "beta": 1.0, **targets}] * 80
    calm = [{"entropy": 1.9, "kl": kl, "tau": 0.5, "beta": 0.2, **targets} for kl in (0.08, 0.14)]
    found = control.errors(wild + calm * 20)
    assert found["entropy_error"] == pytest.approx(-0.05)
    assert found["kl_error"] == pytest.approx(0.1)
    assert found["kl_swing"] == pytest.approx(0.3)  # |−.2| and |+.4|
    assert (found["tau"], found["beta"]) == (0.5, 0.2)


def test_the_starts_are_ten_times_off_where_tau_settles() -> None:
    low, high = (control.overrides("analytic", "tight", start, seed=0, steps=9) for start in ("low", "high"))
    assert "controller.tau=0.055" in low
    assert "controller.tau=5.5" in high


def test_a_difference_is_paired_by_prompt() -> None:
    theirs = [record([0.1, 0.5, 0.9, 0.3]), record([0.2, 0.4, 0.8, 0.2])]
    ours = [record([value + 0.1 for value in run["held_out"]["per_prompt"]["coverage"]]) for run in theirs]  # type: ignore[index]
    found = versus_grpo.compare(ours, theirs)
    assert found["coverage"]["difference"] == pytest.approx(0.1)
    assert found["coverage"]["low"] == pytest.approx(0.1)  # prompts differ widely, the paired differences do not
    assert found["coverage"]["excludes_zero"]
    assert not found["mean"]["excludes_zero"]


def rows(kl: list[float], entropy: float = 1.9) -> list[dict[str, float]]:
    return [{"kl": value, "entropy": entropy, "target_kl": 0.05, "target_entropy": 1.9} for value in kl]


def test_a_part_is_settled_when_the_running_mean_is_inside_and_stays() -> None:
    """KL jumps from 0 to its target at step 20: the mean over steps i − 10 … i + 10 is within 10 % from i = 28 on."""
    found = objectives.judge(rows([0.0] * 20 + [0.05] * 40), kl_before=0.0)
    assert found.settled == 28  # 19 of the 21 steps are then at the target
    assert found.settled_entropy == 0
    assert found.overshoot_kl == pytest.approx(0.0)
    assert found.error_kl == pytest.approx(0.0)


def test_never_settled_is_the_length_of_the_part() -> None:
    def judged(kl: list[float], entropy: float = 1.9) -> objectives.Part:
        return objectives.judge(rows(kl, entropy), kl_before=0.0)

    assert judged([0.08] * 40).settled == 40
    assert judged([0.05] * 40, entropy=1.5).settled == 40
    assert judged([0.05] * 40, entropy=1.8).settled == 0  # 5 % off: inside 10 % but not inside 2 %
    assert judged([0.05] * 40, entropy=1.8).settled_entropy == 40
    assert objectives.settling_step([False] * 15 + [True] * 9) == 24  # nine steps at the end are not ten
    assert objectives.settling_step([False] * 14 + [True] * 10) == 14


def test_overshoot_is_past_the_target_from_the_side_it_came_from() -> None:
    rising = objectives.judge(rows([0.0] * 20 + [0.06] * 40), kl_before=0.0)
    falling = objectives.judge(rows([0.1] * 20 + [0.04] * 40), kl_before=0.1)
    resting = objectives.judge(rows([0.05] * 20 + [0.04] * 40), kl_before=0.05)
    assert rising.overshoot_kl == pytest.approx(0.2)
    assert falling.overshoot_kl == pytest.approx(0.2)
    assert resting.overshoot_kl == pytest.approx(0.2)
    assert rising.error_kl == pytest.approx(0.2)
    assert falling.error_kl == pytest.approx(-0.2)
