"""The experiments' verdicts, on records with known answers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))

import control
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
    assert "weighting.tau=0.055" in low
    assert "weighting.tau=5.5" in high


def test_a_difference_is_paired_by_prompt() -> None:
    theirs = [record([0.1, 0.5, 0.9, 0.3]), record([0.2, 0.4, 0.8, 0.2])]
    ours = [record([value + 0.1 for value in run["held_out"]["per_prompt"]["coverage"]]) for run in theirs]  # type: ignore[index]
    found = versus_grpo.compare(ours, theirs)
    assert found["coverage"]["difference"] == pytest.approx(0.1)
    assert found["coverage"]["low"] == pytest.approx(0.1)  # prompts differ widely, the paired differences do not
    assert found["coverage"]["excludes_zero"]
    assert not found["mean"]["excludes_zero"]
