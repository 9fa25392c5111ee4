from __future__ import annotations

import pytest
import torch

from maxent_ray.errors import MaxentRayError
from maxent_ray.policy.drawing import draw_tokens, uniform_numbers


@pytest.mark.parametrize("vocabulary", [1, 2, 3, 24, 25, 26, 1000])
def test_every_token_has_the_share_of_the_numbers_that_is_its_probability(vocabulary: int) -> None:
    """At a grid of 10,000 numbers, against sums in float64: exact but for the two numbers at the ends of a share."""
    probabilities = torch.softmax(3 * torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(1)), dim=-1)
    grid = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    drawn = draw_tokens(probabilities.expand(10_000, -1), grid)
    exact = probabilities[0].double() / probabilities[0].double().sum()
    counts = drawn.bincount(minlength=vocabulary)
    assert bool(((counts - 10_000 * exact).abs() <= 1.0).all())
    assert bool((drawn.diff() >= 0).all())


def test_a_token_without_probability_is_never_drawn() -> None:
    probabilities = torch.zeros(4, 100)
    probabilities[:, [40, 77]] = 0.5
    edges = torch.tensor([0.0, 0.5 - 2**-54, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert draw_tokens(probabilities, edges).tolist() == [40, 40, 77, 77]


def test_the_smallest_probabilities_are_not_lost_beside_the_largest() -> None:
    """In float32 a running sum that has come to 1 would not grow by 1e-9."""
    probabilities = torch.full((1, 20_000), 1e-9)
    probabilities[0, 0] = 1.0
    total = 1.0 + 19_999 * float(torch.tensor(1e-9))
    for token in (1, 10_000, 19_999):
        number = torch.tensor([(1.0 + (token - 0.5) * float(torch.tensor(1e-9))) / total], dtype=torch.float64)
        assert draw_tokens(probabilities, number).tolist() == [token]


def test_sums_of_a_block_that_differ_in_the_last_bit() -> None:
    """The largest number finds the last token of every distribution."""
    probabilities = torch.rand(2_000, 1_009, generator=torch.Generator().manual_seed(0))
    largest = torch.full((2_000,), 1 - 2**-53, dtype=torch.float64)
    assert draw_tokens(probabilities, largest).tolist() == [1_008] * 2_000


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(wrong: float) -> None:
    with pytest.raises(MaxentRayError, match="not finite; check its parameters"):
        draw_tokens(torch.tensor([[0.5, wrong, 0.5]]), torch.tensor([0.3], dtype=torch.float64))


def test_numbers_are_those_of_their_seed_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    numbers = uniform_numbers([5, 6], rows=3, columns=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(numbers[:3], uniform_numbers([5], rows=3, columns=4))
    assert not torch.equal(numbers[:3], numbers[3:])
    assert bool(((numbers >= 0) & (numbers < 1)).all())
