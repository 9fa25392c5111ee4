"""Contact with a bound, its end, and errors that would remain at the bound itself."""

from __future__ import annotations

import math

import pytest

from maxent_ray.core.diagnostics.saturation import BoundContact, is_beyond_bound, update_contact
from maxent_ray.core.diagnostics.trend import Trend


def after(pushes: list[int], patience: int = 5) -> BoundContact:
    contact = BoundContact()
    for pushed in pushes:
        contact = update_contact(contact, pushed, patience)
    return contact


@pytest.mark.parametrize(
    ("pushes", "contact"),
    [
        ([0, 0], BoundContact(0, 0)),
        ([1], BoundContact(1, 0)),
        ([1, 0, 0], BoundContact(1, 2)),
        ([1, 0, 0, 0, 0, 1], BoundContact(1, 0)),
        ([1, 0, 0, 0, 0, 0], BoundContact(0, 0)),
        ([1, 0, -1, 0], BoundContact(-1, 1)),
    ],
)
def test_contact_ends_after_a_patience_of_unclipped_updates(pushes: list[int], contact: BoundContact) -> None:
    assert after(pushes) == contact


@pytest.mark.parametrize("elasticity", [0.1, 0.3, 0.65])
@pytest.mark.parametrize("upper", [True, False])
def test_a_target_at_the_bound_is_not_beyond_it_however_far_noise_keeps_it_away(elasticity: float, upper: bool) -> None:
    """The target is met at the bound, and the coefficient is off it by d: ln(1 + e) = ±γ·d."""
    for distance in (0.01, 0.3, 2.0):
        sign = 1 if upper else -1
        errors = Trend(count=100, mean=math.exp(sign * elasticity * distance) - 1)
        assert not is_beyond_bound(errors, -sign * distance, 1.0, sign)
        beyond = Trend(count=100, mean=math.exp(sign * (elasticity + 1) * distance) - 1)
        assert is_beyond_bound(beyond, -sign * distance, 1.0, sign)
        assert not is_beyond_bound(beyond, -sign * distance, 1.0, -sign)  # that pushes it inwards


def test_standard_errors_are_taken_off() -> None:
    """n = 100, Σ(x − x̄)² = 9.9: standard error √(9.9/9900) = .0316, 3 of them .095; ln(1.205) = .1866 = 2/3·.280."""
    errors = Trend(count=100, mean=0.3, squares=9.9)
    assert is_beyond_bound(errors, -0.278, 1.0, 1)
    assert not is_beyond_bound(errors, -0.282, 1.0, 1)
    assert not is_beyond_bound(Trend(count=100, mean=0.09, squares=9.9), 0.0, 1.0, 1)


def test_a_coefficient_of_zero_is_at_a_bound_of_zero() -> None:
    errors = Trend(count=20, mean=-0.5)
    assert is_beyond_bound(errors, math.log(1e-300), 0.0, -1)
    assert not is_beyond_bound(errors, math.log(1e-9), 0.0, -1)
