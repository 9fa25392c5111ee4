"""One relative error everywhere: its sign, its scale, and rows that lack the scale."""

from __future__ import annotations

import numpy as np
import pytest

from maxent_ray.core.relative_errors import relative_error, usual_scale
from maxent_ray.core.signals import SCALES, SIGNALS, deviation


@pytest.mark.parametrize("target", [2.0, 0.5, 0.0, -1.5])
def test_an_error_is_positive_above_the_target_whatever_its_sign(target: float) -> None:
    scale = usual_scale(target)
    assert scale > 0
    assert relative_error(target + 0.25 * scale, target, scale) == pytest.approx(0.25)
    assert relative_error(target - 0.25 * scale, target, scale) == pytest.approx(-0.25)


def test_what_is_not_known_has_no_error() -> None:
    assert [relative_error(*each) for each in ((None, 1.0, 1.0), (1.0, None, 1.0), (1.0, 1.0, None))] == [None] * 3


def test_arrays_are_taken_element_by_element() -> None:
    values, targets = np.array([1.5, np.nan, -0.5]), np.array([2.0, 2.0, -1.0])
    np.testing.assert_allclose(relative_error(values, targets, np.array([2.0, 2.0, 1.0])), [-0.25, np.nan, 0.5])


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 0.2), (0.4, 0.5), (None, 2.0)])
def test_a_row_is_measured_by_its_own_scale(scale: float | None, expected: float) -> None:
    row = {"entropy": 0.3, "target_entropy": 0.1, "entropy_scale": scale, "kl": 0.06, "target_kl": 0.05}
    assert deviation(row, "entropy") == pytest.approx(expected)
    assert deviation(row, "kl") == pytest.approx(0.2)
    assert deviation({**row, "target_entropy": None}, "entropy") is None


def test_scales_are_signals() -> None:
    assert set(SCALES.values()) | SCALES.keys() <= {signal.name for signal in SIGNALS}
