"""The choice of a mode by memory: what is fastest where it fits, and why."""

from __future__ import annotations

import itertools

import pytest

from maxent_ray.core.hypergradient import choose_mode, smaller_mode
from maxent_ray.errors import HypergradientError

MB, GB = 10**6, 10**9


@pytest.mark.parametrize(
    ("steps", "parameters", "activations", "free", "expected"),
    [
        (4, 2 * MB, 40 * MB, 8 * GB, ("reverse", False)),  # the embedded policy
        (64, 2 * MB, 40 * MB, 8 * GB, ("reverse", True)),
        (64, 400 * MB, 2 * GB, 40 * GB, ("forward", False)),  # 64 sets of parameters do not fit, four do
        (1, 400 * MB, 2 * GB, 40 * GB, ("reverse", False)),
        (1, 4 * GB, 8 * GB, 40 * GB, ("first_order", False)),
        (4, 4 * GB, 8 * GB, 40 * GB, ("first_order", False)),
        (4, 2 * MB, 40 * MB, 0, ("first_order", False)),
    ],
)
def test_the_fastest_exact_mode_that_fits(
    steps: int, parameters: int, activations: int, free: int, expected: tuple[str, bool]
) -> None:
    choice = choose_mode(steps, parameters, activations, free)
    assert (choice.mode, choice.checkpoint) == expected


def test_more_memory_never_gives_a_slower_mode() -> None:
    order = [("first_order", False), ("forward", False), ("reverse", True), ("reverse", False)]
    for steps, parameters, activations in itertools.product((2, 8, 64), (MB, 500 * MB), (10 * MB, 5 * GB)):
        ranks = [
            order.index(choose_mode(steps, parameters, activations, free)[:2])
            for free in (10 * MB * 2**power for power in range(20))
        ]
        assert ranks == sorted(ranks)
        assert ranks[0] == 0
        assert ranks[-1] == 3


def test_more_steps_never_need_less() -> None:
    sizes = [choose_mode(steps, 100 * MB, GB, 40 * GB)[:2] for steps in (2, 5, 20, 200)]
    assert sizes == [("reverse", False), ("reverse", False), ("reverse", True), ("forward", False)]


@pytest.mark.parametrize(("steps", "accuracy"), [(1, "exact for K=1"), (2, "approximate for K=2")])
def test_the_reason_says_what_did_not_fit(steps: int, accuracy: str) -> None:
    reason = choose_mode(steps, 4 * GB, 8 * GB, 40 * GB).reason
    assert "reverse would need about" in reason
    assert "it may use 20 of 40 GB free" in reason
    assert accuracy in reason
    assert ("forward" in reason) == (steps > 1)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 1, 1, 1), "steps is 0; it must be >= 1"),
        ((1, -1, 1, 1), "parameter_bytes is -1"),
        ((1, 1, -2, 1), "activation_bytes is -2"),
        ((1, 1, 1, -3), "free_bytes is -3"),
    ],
)
def test_impossible_sizes_are_named(sizes: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(HypergradientError, match=message):
        choose_mode(*sizes)


@pytest.mark.parametrize("steps", [1, 2, 16])
def test_each_smaller_choice_is_another_one_until_none_is_left(steps: int) -> None:
    seen, current = [], choose_mode(steps, MB, MB, GB)
    while current is not None:
        assert current[:2] not in seen
        seen.append(current[:2])
        current = smaller_mode(steps, current.mode, current.checkpoint)
    assert seen[0] == ("reverse", False)
    assert seen[-1] == ("first_order", False)
    assert len(seen) == {1: 2, 2: 3, 16: 4}[steps]
