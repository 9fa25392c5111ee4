from __future__ import annotations

import torch
from transformers import DynamicCache

from maxent_ray.policy.block_cache import BLOCK, BlockLayer, can_select, select_rows


def states(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_keeps_what_a_concatenation_would_through_blocks_and_selections() -> None:
    """Oracle: torch.cat. Values may be narrower than keys, as in low-rank attention."""
    keys, values = states(2, 3, 5, 4, seed=0), states(2, 3, 5, 2, seed=1)
    cache = DynamicCache()
    cache.update(keys, values, 0)
    rows = torch.tensor([0, 0, 1])
    select_rows(cache, rows)
    keys, values = keys[rows], values[rows]
    for step, width in enumerate([1, BLOCK, 1, 3 * BLOCK, *[1] * BLOCK]):
        if step == 4:
            select_rows(cache, torch.tensor([2, 0]))
            keys, values = keys[[2, 0]], values[[2, 0]]
        new = states(len(keys), 3, width, 4, seed=2 + step), states(len(keys), 3, width, 2, seed=100 + step)
        keys, values = torch.cat([keys, new[0]], dim=2), torch.cat([values, new[1]], dim=2)
        found = cache.update(*new, 0)
        assert torch.equal(found[0], keys)
        assert torch.equal(found[1], values)
        assert cache.get_seq_length() == keys.shape[2]
    assert type(cache.layers[0]) is BlockLayer


def test_tokens_are_added_in_place() -> None:
    layer = BlockLayer(states(2, 1, 3, 4, seed=0), states(2, 1, 3, 4, seed=1))
    place = layer.keys.data_ptr()
    for _ in range(BLOCK):
        layer.update(states(2, 1, 1, 4, seed=2), states(2, 1, 1, 4, seed=3))
    assert layer.keys.data_ptr() == place
    layer.update(states(2, 1, 1, 4, seed=2), states(2, 1, 1, 4, seed=3))
    assert layer.keys.data_ptr() != place


def test_a_family_s_own_cache_is_left_alone() -> None:
    class OwnCache(DynamicCache):
        pass

    assert can_select(DynamicCache())
    assert not can_select(OwnCache())
