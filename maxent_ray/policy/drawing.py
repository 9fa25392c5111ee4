"""Draw tokens by inversion: one uniform number for each token, and one pass over its probabilities.

A row's numbers are fixed before the first token, so that what it draws does not depend on the rows that it is sampled
with. It is also faster than `torch.multinomial`, which draws one number for every entry of the vocabulary.

Symbols: N sequences, C completion tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn.functional import pad

from maxent_ray.errors import MaxentRayError


def uniform_numbers(seeds: Sequence[int], rows: int, columns: int) -> Float64[Tensor, "N C"]:
    """Draw numbers in [0, 1), on the CPU whatever device they are for, without the global generator.

    Args:
        seeds: Each seeds a generator of its own.
        rows: Rows drawn from each generator, in this order.
        columns: C.

    Returns:
        The rows, those of the first seed first.

    Example:
        >>> both = uniform_numbers([1, 2], rows=2, columns=3)
        >>> both.shape, torch.equal(both[2:], uniform_numbers([2], rows=2, columns=3))
        (torch.Size([4, 3]), True)
    """
    generators = (torch.Generator().manual_seed(seed) for seed in seeds)
    return torch.cat([torch.rand(rows, columns, dtype=torch.float64, generator=each) for each in generators])


def draw_tokens(probabilities: Float[Tensor, "N V"], uniform: Float64[Tensor, "N"]) -> Int[Tensor, "N"]:
    """Find the token of each row at which the cumulative probability passes u: token v is drawn with probability p_v.

    Sums are in float64, where not even the smallest probability is lost beside the others. They are taken over blocks
    of about sqrt(V) tokens, and then inside the block that u falls into: a running sum over the whole vocabulary takes
    several times as long.

    Args:
        probabilities: Non-negative, with a positive sum; need not be normalised.
        uniform: u of each row, in [0, 1).

    Returns:
        One token a row, never one without probability.

    Raises:
        MaxentRayError: A probability is not finite.

    Example:
        >>> p = torch.tensor([[0.5, 0.0, 0.5]]).expand(4, 3)
        >>> draw_tokens(p, torch.tensor([0.0, 0.49, 0.5, 0.99], dtype=torch.float64)).tolist()
        [0, 0, 2, 2]
    """
    size = math.isqrt(probabilities.shape[1] - 1) + 1
    blocks = pad(probabilities, (0, -probabilities.shape[1] % size)).unflatten(1, (-1, size))
    ends = blocks.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    if not bool(ends[:, -1].isfinite().all()):
        raise MaxentRayError("the policy's probabilities of the next token are not finite; check its parameters")
    target = uniform[:, None] * ends[:, -1:]
    block = torch.searchsorted(ends, target, right=True)
    start = pad(ends, (1, 0)).gather(1, block)
    inside = blocks.take_along_dim(block[..., None], dim=1)[:, 0].cumsum(dim=-1, dtype=torch.float64)
    # The two sums of a block may differ in the last bit: the target stays below the one that it is looked up in.
    rest = torch.minimum(target - start, inside[:, -1:].nextafter(inside.new_zeros(())))
    return (block * size + torch.searchsorted(inside, rest, right=True))[:, 0]
