"""What the page on hypergradients plots is what it says it plots."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))

import truncation_bias

from maxent_ray.core.hypergradient import Mode


@pytest.mark.parametrize("contraction", truncation_bias.CONTRACTIONS)
@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_the_points_lie_on_the_closed_form(mode: Mode, contraction: float) -> None:
    """θ ← θ − η(aθ − τ − β) gives dθ_K/dτ = η Σ_{j<K} (1 − ηa)^j = (1 − (1 − ηa)^K)/a; its limit is 1/a.

    The share that is missed is 1 minus a number near 1, so it is known to a few units of 1e-16.
    """
    for steps in truncation_bias.STEPS:
        missed = truncation_bias.bias(steps, contraction, mode)
        assert missed == pytest.approx((1 - contraction) ** steps, rel=1e-9, abs=1e-14)


def test_first_order_misses_what_the_exact_modes_see() -> None:
    """It takes K direct terms of η each: ηaK of the derivative, past the whole of it once ηaK > 1."""
    for steps in (1, 2, 8, 32):
        missed = truncation_bias.bias(steps, 0.05, "first_order")
        assert missed == pytest.approx(1 - 0.05 * steps, abs=1e-12)


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    truncation_bias.draw(tmp_path / "folder" / "bias.png")
    assert (tmp_path / "folder" / "bias.png").read_bytes().startswith(b"\x89PNG")
