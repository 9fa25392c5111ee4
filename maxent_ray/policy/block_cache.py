"""Cache of keys and values that grows by blocks of tokens.

That of transformers copies all keys and values of all sequences for every new token, which takes more time than
reading them does.

Symbols: n sequences, T tokens, D and E widths of a head's keys and values.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

BLOCK = 32
"""Tokens that there is room for after each copy."""


class BlockLayer(DynamicLayer):
    """Keys and values of one layer: the filled parts of two buffers, to which tokens are added in place.

    Args:
        keys: Of the tokens so far.
        values: Of the same.

    Example:
        >>> import torch
        >>> layer = BlockLayer(torch.ones(2, 1, 3, 4), torch.ones(2, 1, 3, 4))
        >>> keys, values = layer.update(torch.zeros(2, 1, 1, 4), torch.zeros(2, 1, 1, 4))
        >>> keys.shape, keys[0, 0, :, 0].tolist()
        (torch.Size([2, 1, 4, 4]), [1.0, 1.0, 1.0, 0.0])
    """

    keys: Float[Tensor, "n ... T D"]
    values: Float[Tensor, "n ... T E"]

    def __init__(self, keys: Float[Tensor, "n ... T D"], values: Float[Tensor, "n ... T E"]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(keys, values)
        self._reserve(keys, values)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append the keys and values of some tokens; returns those of all."""
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        if end > self._buffers[0].shape[-2]:
            self._reserve(self.keys, self.values, end - start)
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., start:end, :] = states
        self.keys, self.values = (buffer[..., :end, :] for buffer in self._buffers)
        return self.keys, self.values

    def _reserve(self, keys: Tensor, values: Tensor, tokens: int = 0) -> None:
        """Copy into buffers with room for some tokens and a block."""
        self._buffers = [pad(part, (0, 0, 0, tokens + BLOCK)) for part in (keys, values)]
        self.keys, self.values = (buffer[..., : keys.shape[-2], :] for buffer in self._buffers)


def can_select(cache: object) -> TypeGuard[DynamicCache]:
    """Tell whether all that a cache holds are rows of its layers, which a family's own cache may add to.

    Example:
        >>> can_select(DynamicCache())
        True
    """
    return type(cache) is DynamicCache


def can_share(cache: object) -> bool:
    """Tell whether all that is known of a prompt are keys and values, which the sequences of a group may continue.

    Example:
        >>> can_share(None), can_share(DynamicCache())
        (False, True)
    """
    return can_select(cache) and all(type(layer) is DynamicLayer for layer in cache.layers)


def select_rows(cache: Cache, rows: Int[Tensor, "n"]) -> None:
    """Keep some sequences of a cache, or several copies of each; its plain layers grow by blocks from then on.

    Args:
        cache: Is changed; one of those that `can_select` accepts.
        rows: The sequences that go on, by number.

    Example:
        >>> import torch
        >>> cache = DynamicCache()
        >>> _ = cache.update(torch.arange(2.0).view(2, 1, 1, 1), torch.zeros(2, 1, 1, 1), layer_idx=0)
        >>> select_rows(cache, torch.tensor([1, 1, 0]))
        >>> cache.layers[0].keys.flatten().tolist()
        [1.0, 1.0, 0.0]
    """
    cache.reorder_cache(rows)  # type: ignore[arg-type]  # declared a LongTensor, which rows is
    for index, layer in enumerate(cache.layers):
        is_plain = type(layer) in (DynamicLayer, BlockLayer)  # others also keep something else, or not all tokens
        if is_plain and isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None:
            cache.layers[index] = BlockLayer(layer.keys, layer.values)
