from __future__ import annotations

from collections import Counter

import pytest

from maxent_ray.errors import TaskError
from maxent_ray.tasks import Prompt, draw, rank_share

PROMPTS = [Prompt(str(index)) for index in range(10)]


def _texts(count: int, steps: range, seed: int = 0) -> list[str]:
    return [prompt.text for step in steps for prompt in draw(PROMPTS, count, seed=seed, step=step)]


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_an_epoch_holds_every_prompt_once(count: int) -> None:
    per_epoch = 10 // count
    for epoch in range(3):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        assert sorted(_texts(count, steps)) == sorted(prompt.text for prompt in PROMPTS)


def test_a_count_that_does_not_divide_leaves_some_out_but_repeats_none() -> None:
    seen: Counter[str] = Counter()
    for epoch in range(200):
        texts = _texts(4, range(2 * epoch, 2 * epoch + 2))
        assert len(set(texts)) == 8
        seen.update(texts)
    # 200 epochs × 8 of 10: 160 each, standard deviation 5.7.
    assert all(abs(times - 160) < 30 for times in seen.values())


def test_a_step_is_the_same_however_it_is_reached() -> None:
    backwards = [draw(PROMPTS, 3, seed=5, step=step) for step in reversed(range(20))]
    assert backwards[::-1] == [draw(PROMPTS, 3, seed=5, step=step) for step in range(20)]


def test_seeds_and_epochs_give_different_orders() -> None:
    orders = {tuple(_texts(10, range(epoch, epoch + 1), seed)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_order_is_pinned() -> None:
    """Golden: a change here breaks the resuming of runs that an earlier version started."""
    assert _texts(5, range(2)) == ["5", "0", "3", "2", "7", "8", "6", "4", "1", "9"]


@pytest.mark.parametrize("count", [-1, 0, 11])
def test_count_out_of_range(count: int) -> None:
    with pytest.raises(TaskError, match=rf"count is {count}.*10"):
        draw(PROMPTS, count, seed=0, step=0)


def test_empty_task_and_negative_step() -> None:
    with pytest.raises(TaskError, match="count is 4; the task has no prompts to draw from"):
        draw([], 4, seed=0, step=0)
    with pytest.raises(TaskError, match="step is -1"):
        draw(PROMPTS, 4, seed=0, step=-1)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 10])
def test_shares_cover_the_batch_without_overlap(world_size: int) -> None:
    shares = [rank_share(PROMPTS, rank, world_size) for rank in range(world_size)]
    assert sorted(prompt.text for share in shares for prompt in share) == sorted(
        prompt.text for prompt in PROMPTS
    )
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("rank", "world_size"), [(-1, 2), (2, 2), (0, 0)])
def test_rank_out_of_range(rank: int, world_size: int) -> None:
    with pytest.raises(TaskError, match=f"rank is {rank}; with world_size {world_size}"):
        rank_share(PROMPTS, rank, world_size)


def test_more_ranks_than_prompts() -> None:
    with pytest.raises(TaskError, match="10 prompts are too few for 11 ranks"):
        rank_share(PROMPTS, 0, 11)
