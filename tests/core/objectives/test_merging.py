"""Merging of what ranks formed: weighted means, of all ranks or none."""

from __future__ import annotations

import pytest

from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.objectives.merging import RankWeights, merge_gradients

WEIGHTS = [RankWeights(entropy=3, kl=30), RankWeights(entropy=1, kl=90)]


def test_signals_and_confidences_are_means_by_what_each_was_measured_on() -> None:
    """The merged error, a signal over its confidence, is then that of the ranks: here .2 and -.4 on both."""
    sent = [
        ControllerGradients(0.1, -0.4, source="mine", tau_confidence=0.5),
        ControllerGradients(0.2, -0.1, source="mine", beta_confidence=0.25),
    ]
    merged, is_partial = merge_gradients(sent, WEIGHTS)
    assert merged is not None and not is_partial
    assert (merged.tau_grad, merged.tau_confidence) == pytest.approx((0.125, 0.625))
    assert (merged.beta_grad, merged.beta_confidence) == pytest.approx((-0.175, 0.4375))
    assert merged.tau_grad / merged.tau_confidence == pytest.approx(0.2)  # type: ignore[operator]
    assert merged.beta_grad / merged.beta_confidence == pytest.approx(-0.4)  # type: ignore[operator]


def test_a_signal_that_a_rank_lacks_is_left_out() -> None:
    merged, is_partial = merge_gradients([ControllerGradients(0.1, -0.4), ControllerGradients(0.3)], WEIGHTS)
    assert merged is not None and is_partial
    assert (merged.tau_grad, merged.beta_grad) == (pytest.approx(0.15), None)
    assert merge_gradients([ControllerGradients(0.1), None], WEIGHTS) == (None, True)
