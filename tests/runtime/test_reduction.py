"""Reports are checked where they come in, and become one round on all ranks alike."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from maxent_ray.core.objectives import ControllerGradients, Sensitivity
from maxent_ray.core.statistics import BatchStatistics, merge_all
from maxent_ray.errors import InvalidReportError
from maxent_ray.runtime.decision_round import Round
from maxent_ray.runtime.reduction import PARTIAL, Rejection, Report, check_report, merge_reports
from tests.runtime.support import ANALYTIC, TRUNCATED, measured, unrolled

WEIRD: dict[str, Any] = {
    "none": None,
    "true": True,
    "text": "9" * 10_000_000,
    "bytes": b"1",
    "list": [1.0],
    "dict": dict.fromkeys(range(1000), 0.0),
    "complex": 1j,
    "tensor of three": torch.ones(3),
    "array": np.ones(3),
    "object": object(),
    "class": Report,
    "10**400": 10**400,
    "-10**400": -(10**400),
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "1e200": 1e200,
}
SENSITIVITY = unrolled(0, 0).sensitivity
assert SENSITIVITY is not None


def violation(statistics: Any, gradients: Any = None, config: Any = TRUNCATED) -> Rejection:
    found = check_report("rank 1, step 7: ", statistics, gradients, config)
    assert found is not None
    return found


@pytest.mark.parametrize("weird", WEIRD)
def test_every_weird_number_of_the_statistics_is_named_in_few_words(weird: str) -> None:
    for field in fields(BatchStatistics):
        if WEIRD[weird] is field.default is None:  # a signal that was not measured
            continue
        message, is_callers = violation(replace(measured(0, 0), **{field.name: WEIRD[weird]}))
        assert message.startswith(f"rank 1, step 7: statistics.{field.name} is ")
        assert (is_callers, len(message) < 300) == (True, True)


@pytest.mark.parametrize("weird", WEIRD)
def test_every_weird_number_of_the_gradients_is_named_and_a_divergence_is_nobodys_violation(weird: str) -> None:
    value = WEIRD[weird]
    for field in fields(Sensitivity):
        bad = ControllerGradients(sensitivity=replace(SENSITIVITY, **{field.name: value}))
        message, is_callers = violation(measured(0, 0), bad)
        assert message.startswith(f"rank 1, step 7: gradients.sensitivity.{field.name} is ")
        assert is_callers == (type(value) is not float)
    if value is not None:
        message, is_callers = violation(measured(0, 0), ControllerGradients(tau_grad=value))
        assert message.startswith("rank 1, step 7: gradients.tau_grad is ")


@pytest.mark.parametrize("value", [*WEIRD.values(), ControllerGradients()])
def test_what_is_no_statistics_or_gradients_at_all(value: Any) -> None:
    assert violation(value).message.endswith("; it must be BatchStatistics")
    if value is not None and type(value) is not ControllerGradients:
        assert violation(measured(0, 0), value).message.endswith("; it must be ControllerGradients")


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({"steps": 2}, "steps is 2; it must be objective.unroll.steps = 1"),
        ({"tokens": 0}, "tokens is 0; it must be >= 1"),
        ({"tau": 0.0}, "tau is 0.0; it must be > 0"),
        ({"beta": 0.0}, "beta is 0.0; it must be > 0"),
    ],
)
def test_an_unroll_that_this_controller_cannot_have_asked_for(changes: dict[str, Any], valid: str) -> None:
    bad = ControllerGradients(sensitivity=replace(SENSITIVITY, **changes))
    assert violation(measured(0, 0), bad) == (f"rank 1, step 7: gradients.sensitivity.{valid}", True)
    for name, target in (("tau", {"target_entropy": None}), ("beta", {"target_kl": 0.0})):  # held fixed, it may be 0
        fixed = replace(TRUNCATED, **target)
        assert (check_report("", measured(0, 0), bad, fixed) is not None) == (name not in changes)


def test_good_reports_pass_with_numbers_of_any_library() -> None:
    assert check_report("", measured(0, 0), unrolled(0, 0), TRUNCATED) is None
    usual = measured(0, 0)
    sums = {field.name: getattr(usual, field.name) for field in fields(usual)}
    for convert in (np.float64, np.array, lambda value: torch.tensor(value, dtype=torch.float64)):
        given = BatchStatistics(**{name: convert(value) for name, value in sums.items()})
        assert check_report("", given, None, ANALYTIC) is None
        assert Report.from_text(Report(0, 0, 0, given).to_text()).statistics == usual


# --- merging ---


def report(rank: int, gradients: ControllerGradients | None = None) -> Report:
    return Report(3, 3, 99, measured(rank, 3), gradients)


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_statistics_are_those_of_the_whole_batch_to_the_last_bit(ranks: int) -> None:
    reports = [Report.from_text(report(rank).to_text()) for rank in range(ranks)]
    assert merge_reports(reports, ANALYTIC) == Round(merge_all(measured(rank, 3) for rank in range(ranks)))


@pytest.mark.parametrize(
    ("entropy_signal", "kl_signal", "counted"),
    [
        ("weight_entropy", "policy_kl", ("groups", "tokens")),
        ("policy_entropy", "weight_kl", ("tokens", "groups")),
    ],
)
def test_gradients_are_averaged_over_what_their_signals_are_means_over(
    entropy_signal: Any, kl_signal: Any, counted: tuple[str, str]
) -> None:
    config = replace(ANALYTIC, entropy_signal=entropy_signal, kl_signal=kl_signal)
    shards = [measured(rank, 3) for rank in range(2)]
    sent = [ControllerGradients(0.1, -0.2, source="mine"), ControllerGradients(0.4, 0.6, source="mine")]
    found = merge_reports([report(rank, gradients) for rank, gradients in enumerate(sent)], config)
    assert found.gradients is not None
    values = (found.gradients.tau_grad, (0.1, 0.4)), (found.gradients.beta_grad, (-0.2, 0.6))
    for (value, pair), unit in zip(values, counted, strict=True):
        counts = [getattr(shard, unit) for shard in shards]
        expected = (pair[0] * counts[0] + pair[1] * counts[1]) / sum(counts)
        assert value == pytest.approx(expected, rel=1e-14)
    assert (found.gradients.source, found.events) == ("mine", ())


def test_the_entropy_of_an_unroll_is_the_one_that_the_statistics_have() -> None:
    """H(w) does not depend on θ: merged over ranks of unlike token counts it is still the batch's."""
    reports = []
    for rank, tokens in enumerate((32, 108)):
        shard = replace(measured(rank, 3), tokens=tokens)
        sensitivity = replace(SENSITIVITY, entropy=shard.mean("weight_entropy"), tokens=tokens // 2)
        reports.append(Report(3, 3, 99, shard, ControllerGradients(sensitivity=sensitivity)))
    found = merge_reports(reports, TRUNCATED)
    assert found.statistics is not None and found.gradients is not None and found.gradients.sensitivity is not None
    assert found.gradients.sensitivity.entropy == pytest.approx(found.statistics.mean("weight_entropy"), rel=1e-14)
    assert found.gradients.sensitivity.tokens == 70


@pytest.mark.parametrize(
    ("first", "second", "tau_grad"),
    [
        (unrolled(0, 3), None, None),
        (unrolled(0, 3), ControllerGradients(0.1, 0.1), None),
        (unrolled(0, 3), ControllerGradients(sensitivity=replace(SENSITIVITY, tau=0.31)), None),
        (ControllerGradients(0.1, 0.1), ControllerGradients(0.1, None), 0.1),
    ],
)
def test_gradients_that_some_ranks_lack_are_left_out_and_it_is_said(
    first: ControllerGradients, second: ControllerGradients | None, tau_grad: float | None
) -> None:
    found = merge_reports([report(0, first), report(1, second)], TRUNCATED)
    assert found.events == (PARTIAL,)
    assert (None if found.gradients is None else found.gradients.tau_grad) == pytest.approx(tau_grad)
    assert found.gradients is None or found.gradients.beta_grad is None


def test_ranks_that_are_elsewhere_are_named() -> None:
    for other, message in (
        (replace(report(1), step=4), "rank 0 reports step 3, rank 1 reports step 4"),
        (replace(report(1), expected=4), "rank 0 is to report step 3 next, rank 1 is to report step 4 next"),
        (replace(report(1), state=7), "rank 1 has 00000007, rank 0 has 00000063"),
    ):
        with pytest.raises(InvalidReportError, match=message):
            merge_reports([report(0), other], ANALYTIC)
