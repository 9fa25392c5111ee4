"""The verdicts of the hypergradient benchmark, on measurements with known answers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"))

import unroll_bars
import unroll_methods
from unroll_accuracy import Accuracy
from unroll_cost import Memory, Time


def time(ratio: float) -> Time:
    return Time(seconds=1.0, ratio=ratio, low=ratio, high=ratio)


def test_a_time_is_judged_where_it_is_worst_and_at_the_largest_k() -> None:
    times = {("plain", 1): time(1.0), ("reverse", 1): time(2.0), ("reverse", 4): time(3.3), ("reverse", 16): time(3.1)}
    bars = unroll_bars.judge(times, {}, [])
    assert [(bar.measured, bar.steps, bar.holds) for bar in bars] == [(3.3, 4, False), (3.1, 16, True)]


def test_memory_is_judged_for_the_process_and_for_the_unroll_alone() -> None:
    memories = {
        ("plain", 1): Memory(process=200, unroll=50),
        ("plain", 8): Memory(process=200, unroll=50),
        ("forward", 1): Memory(process=250, unroll=100),
        ("forward", 8): Memory(process=260, unroll=110),
        ("first_order", 1): Memory(process=210, unroll=60),
        ("first_order", 8): Memory(process=205, unroll=55),
        ("reverse+checkpoint", 8): Memory(process=300, unroll=150),
        ("torchopt", 8): Memory(process=600, unroll=450),
    }
    found = {bar.name: bar for bar in unroll_bars.judge({}, memories, [])}
    assert found["forward: peak (process) over that at K = 1"].measured == pytest.approx(1.04)
    assert found["forward: peak (process) over that at K = 1"].holds
    assert not found["forward: peak (unroll) over that at K = 1"].holds  # 1.1
    assert found["reverse+checkpoint: peak (process) over torchopt's"].measured == pytest.approx(0.5)
    assert found["reverse+checkpoint: peak (unroll) over torchopt's"].measured == pytest.approx(1 / 3)
    worst = found["first_order: peak (unroll) over plain steps"]
    assert (worst.measured, worst.steps, worst.holds) == (pytest.approx(1.2), 1, False)


def test_accuracy_has_a_bar_for_each_precision() -> None:
    def line(dtype: str, steps: int, error: float) -> Accuracy:
        return Accuracy(dtype, steps, error, error, error, first_order_reverse=9.0, kl_tau=1.0, kl_beta=1.0)

    bars = unroll_bars.judge({}, {}, [line("float64", 1, 1e-10), line("float64", 2, 2e-9), line("float32", 1, 2e-9)])
    assert [(bar.steps, bar.holds) for bar in bars] == [(2, False)] * 3 + [(1, True)] * 3


def test_every_mode_of_the_core_is_measured() -> None:
    from maxent_ray.core.hypergradient import MODES

    assert {options["mode"] for options in unroll_methods.OURS.values()} == set(MODES)
