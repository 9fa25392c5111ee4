from __future__ import annotations

import copy
import math
import pickle

import pytest

from maxent_ray.core.signals import SIGNALS
from maxent_ray.errors import MaxentRayError
from maxent_ray.train.step_record import StepRecord, signal_values

MEASURED = {signal.name: 0.5 for signal in SIGNALS}


def record(**values: float | None) -> StepRecord:
    return StepRecord(3, 1, "analytic", signal_values({**MEASURED, **values}, None))


def test_signals_read_like_fields() -> None:
    made = record(tau=0.25)
    assert (made.step, made.rank, made.objective, made.tau, made.kl) == (3, 1, "analytic", 0.25, 0.5)
    with pytest.raises(AttributeError, match="tua"):
        _ = made.tua


def test_a_record_survives_its_way_between_processes() -> None:
    made = record(entropy=1.9)
    assert pickle.loads(pickle.dumps(made)) == made == copy.deepcopy(made)


def test_a_row_is_flat_and_strict_json() -> None:
    row = record(coverage=math.nan, loss=math.inf, target_kl=None).to_dict()
    assert (row["coverage"], row["loss"], row["target_kl"], row["tau"]) == (None, None, None, 0.5)
    assert list(row) == ["step", "rank", "objective", *(signal.name for signal in SIGNALS)]


def test_a_signal_that_the_worker_does_not_measure_is_the_decisions() -> None:
    measured = {name: value for name, value in MEASURED.items() if name != "tied_share"}
    assert signal_values(measured, {"tied_share": 0.125, "tau": 7.0})["tied_share"] == 0.125
    assert signal_values(measured, {"tied_share": 0.125, "tau": 7.0})["tau"] == 0.5  # trained with, not decided
    assert signal_values(measured, None)["tied_share"] is None  # before the first decision


def test_values_without_an_entry_and_entries_without_a_value_are_errors() -> None:
    with pytest.raises(MaxentRayError, match=r"measured novelty, which core/signals.py does not list"):
        signal_values({**MEASURED, "novelty": 1.0}, None)
    measured = {name: value for name, value in MEASURED.items() if name != "loss"}
    with pytest.raises(MaxentRayError, match=r"lists loss; neither worker nor decision has a value"):
        signal_values(measured, {"tied_share": 0.125})
