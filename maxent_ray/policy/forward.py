"""Forward passes of a causal language model: whole sequences at once, or token by token with a cache.

The only calls of a model in this package. Every family gets the same arguments and takes those that it knows.

Symbols: B prompts, G sequences of each, N = B·G sequences, P prompt tokens, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin

from maxent_ray.errors import PolicyLoadError
from maxent_ray.policy.block_cache import can_select, select_rows


class GrowingSequences(NamedTuple):
    """N sequences that grow token by token.

    Attributes:
        logits: Of the next token.
        mask: 1 at every real token so far.
        position: Position of the last token, left padding not counted.
        cache: What the model keeps of the tokens so far, under the name of its argument.
    """

    logits: Float[Tensor, "N V"]
    mask: Int[Tensor, "N T"]
    position: Int[Tensor, "N 1"]
    cache: Mapping[str, Cache]

    @property
    def can_leave(self) -> bool:
        """True where sequences can leave the batch."""
        return all(map(can_select, self.cache.values()))


def positions(attention_mask: Int[Tensor, "N T"]) -> Int[Tensor, "N T"]:
    """Number the real tokens of each row from 0, so that left padding shifts nothing.

    Example:
        >>> positions(torch.tensor([[0, 0, 1, 1, 1]]))
        tensor([[0, 0, 0, 1, 2]])
    """
    return (attention_mask.cumsum(dim=-1) - 1).clamp(min=0)


def last_logits(
    model: nn.Module,
    input_ids: Int[Tensor, "N T"],
    mask: Int[Tensor, "N T"],
    count: int,
    params: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, "N C V"]:
    """Compute the logits at the last positions of whole sequences, in one pass without a cache.

    Args:
        model: The causal language model.
        input_ids: Tokens, padded on either side.
        mask: 1 at every real token.
        count: C, the number of positions.
        params: Replaces the model's parameters.

    Returns:
        Logits of the token after each of these positions.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> model = load_policy("embedded", device=torch.device("cpu")).model
        >>> ids = torch.tensor([[5, 3, 4, 23], [0, 3, 4, 23]])
        >>> last_logits(model, ids, (ids > 0).long(), count=2).shape
        torch.Size([2, 2, 24])
    """
    output = _whole(model, input_ids, mask, count, params)
    logits: Tensor = output.logits[:, -count:]  # some families compute all
    return logits


def last_states(
    model: nn.Module,
    head: nn.Module,
    input_ids: Int[Tensor, "N T"],
    mask: Int[Tensor, "N T"],
    count: int,
    params: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, "N C D"] | None:
    """Compute what the output head would read at the last positions of whole sequences, but no logits.

    The head is given no position to read, so that the pass has no tensor as wide as the vocabulary. Hooks of the model,
    such as those of data parallelism, run as in any pass.

    Args:
        model: The causal language model.
        head: Its module that reads the last hidden states.
        input_ids: Tokens, padded on either side.
        mask: 1 at every real token.
        count: C, the number of positions.
        params: Replaces the model's parameters.

    Returns:
        The head's inputs, of width D; None where the model does not call it once, with a tensor of that shape.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> model = load_policy("embedded", device=torch.device("cpu")).model
        >>> ids = torch.tensor([[5, 3, 4, 23], [0, 3, 4, 23]])
        >>> last_states(model, model.lm_head, ids, (ids > 0).long(), count=2).shape
        torch.Size([2, 2, 128])
    """
    with _head_inputs(head) as seen:
        _whole(model, input_ids, mask, count, params)
    is_plain = len(seen) == 1 and seen[0].dim() == 3 and len(seen[0]) == len(input_ids)
    return seen[0][:, -count:] if is_plain else None


def group_states(
    model: nn.Module,
    head: nn.Module,
    input_ids: Int[Tensor, "N T"],
    mask: Int[Tensor, "N T"],
    prompt_length: int,
    group_size: int,
    params: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, "N C D"]:
    """Compute the same where groups of sequences begin with one prompt, which is read once for each group.

    Args:
        model: A causal language model whose cache `can_share`.
        head: Its module that reads the last hidden states.
        input_ids: Tokens, group by group: a prompt of the same width in every row, then a completion.
        mask: 1 at every real token.
        prompt_length: P, that width.
        group_size: G.
        params: Replaces the model's parameters.

    Returns:
        The head's inputs from the last token of the prompt on, C = T − P + 1 of them.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> model = load_policy("embedded", device=torch.device("cpu")).model
        >>> ids = torch.tensor([[5, 3, 4, 23, 7], [5, 3, 4, 23, 8]])
        >>> group_states(model, model.lm_head, ids, torch.ones_like(ids), prompt_length=4, group_size=2).shape
        torch.Size([2, 2, 128])
    """
    rows = torch.arange(len(input_ids) // group_size, device=input_ids.device).repeat_interleave(group_size)
    prompts, prompt_mask = (part[::group_size, :prompt_length] for part in (input_ids, mask))
    with _head_inputs(head) as seen:
        output = _called(model, params, _arguments(prompts, prompt_mask, positions(prompt_mask), 1))
        states = seen[0][rows, -1:]
        if input_ids.shape[1] == prompt_length:
            return states
        cache: DynamicCache = output.past_key_values
        cache.reorder_cache(rows)  # type: ignore[arg-type]  # declared a LongTensor, which rows is
        rest = input_ids[:, prompt_length:]
        place = positions(mask)[:, prompt_length:]
        _called(model, params, {**_arguments(rest, mask, place, rest.shape[1]), "past_key_values": cache})
    return torch.cat([states, seen[1][:, -rest.shape[1] :]], dim=1)


@contextmanager
def _head_inputs(head: nn.Module) -> Iterator[list[Tensor]]:
    """Context in which what the head would read is collected, and it reads nothing."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append(inputs[0])
        return (inputs[0][..., :0, :], *inputs[1:])

    handle = head.register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def _whole(
    model: nn.Module,
    input_ids: Int[Tensor, "N T"],
    mask: Int[Tensor, "N T"],
    count: int,
    params: Mapping[str, Tensor] | None,
) -> Any:
    return _called(model, params, {**_arguments(input_ids, mask, positions(mask), count), "use_cache": False})


def _arguments(
    input_ids: Int[Tensor, "n S"], mask: Int[Tensor, "n T"] | None, position: Int[Tensor, "n S"], count: int
) -> dict[str, Any]:
    return {
        "input_ids": input_ids,
        "attention_mask": mask,
        "position_ids": position,
        "use_cache": True,
        "logits_to_keep": count,
    }


def _called(model: nn.Module, params: Mapping[str, Tensor] | None, arguments: dict[str, Any]) -> Any:
    return model(**arguments) if params is None else functional_call(model, dict(params), (), arguments)


def prefill(
    model: nn.Module, prompt_ids: Int[Tensor, "B P"], prompt_mask: Int[Tensor, "B P"], group_size: int
) -> GrowingSequences:
    """Read each prompt once, and copy what the model keeps of it for the G sequences that it begins.

    Args:
        model: The causal language model.
        prompt_ids: Prompts, padded on the left.
        prompt_mask: 1 at every real token.
        group_size: G.

    Returns:
        The N sequences, ordered group by group.

    Raises:
        PolicyLoadError: The model returns no cache.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> model = load_policy("embedded", device=torch.device("cpu")).model
        >>> ids = torch.tensor([[5, 3, 4, 23], [0, 3, 4, 23]])
        >>> growing = prefill(model, ids, (ids > 0).long(), group_size=3)
        >>> growing = extend(model, growing, torch.full((6, 1), 7))
        >>> growing.logits.shape, growing.position[:, 0].tolist()
        (torch.Size([6, 24]), [4, 4, 4, 3, 3, 3])
    """
    rows = torch.arange(len(prompt_ids), device=prompt_ids.device).repeat_interleave(group_size)
    output, cache = _read(model, prompt_ids, prompt_mask)
    read = GrowingSequences(output.logits[:, -1], prompt_mask, _last(prompt_mask), cache)
    if read.can_leave:
        return take_rows(read, rows)
    # A family's own cache may not copy all that it holds: each sequence reads its prompt itself.
    prompt_ids, prompt_mask = prompt_ids[rows], prompt_mask[rows]
    output, cache = _read(model, prompt_ids, prompt_mask)
    return GrowingSequences(output.logits[:, -1], prompt_mask, _last(prompt_mask), cache)


def extend(model: nn.Module, growing: GrowingSequences, tokens: Int[Tensor, "N 1"]) -> GrowingSequences:
    """Append one token to each sequence.

    Args:
        model: The model that read the prompts.
        growing: The sequences so far; their cache is changed.
        tokens: The next token of each.

    Returns:
        The longer sequences. `prefill` has an example.
    """
    mask = torch.cat([growing.mask, torch.ones_like(tokens)], dim=1)
    position = growing.position + 1
    # A cache of states alone has no keys of padding to mask, and its models would apply the mask to the new token.
    keys = any(isinstance(layer, CacheLayerMixin) for cache in growing.cache.values() for layer in cache.layers)
    output = _next(model, tokens, mask if keys else None, position, growing.cache)
    return GrowingSequences(output.logits[:, -1], mask, position, growing.cache)


def take_rows(growing: GrowingSequences, rows: Int[Tensor, "n"]) -> GrowingSequences:
    """Continue with some of the sequences.

    Args:
        growing: The sequences so far, which `can_leave`; their cache is changed.
        rows: Those that go on, by number.

    Returns:
        These, in that order.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> model = load_policy("embedded", device=torch.device("cpu")).model
        >>> ids = torch.tensor([[5, 3, 4, 23], [0, 3, 4, 23]])
        >>> growing = take_rows(prefill(model, ids, (ids > 0).long(), group_size=3), torch.tensor([0, 5]))
        >>> extend(model, growing, torch.full((2, 1), 7)).position[:, 0].tolist()
        [4, 3]
    """
    for kept in growing.cache.values():
        select_rows(kept, rows)
    return GrowingSequences(growing.logits[rows], growing.mask[rows], growing.position[rows], growing.cache)


def _read(
    model: nn.Module, prompt_ids: Int[Tensor, "n P"], prompt_mask: Int[Tensor, "n P"]
) -> tuple[Any, dict[str, Cache]]:
    """Read whole prompts; the model makes the kind of cache that its layers need."""
    output = _next(model, prompt_ids, prompt_mask, positions(prompt_mask), {})
    cache = {name: value for name, value in output.items() if isinstance(value, Cache)}
    if not cache:
        raise PolicyLoadError("the model returns no cache of the tokens that it has read")
    return output, cache


def _last(mask: Int[Tensor, "n T"]) -> Int[Tensor, "n 1"]:
    return positions(mask)[:, -1:]


def _next(
    model: nn.Module,
    input_ids: Int[Tensor, "n S"],
    mask: Int[Tensor, "n T"] | None,
    position: Int[Tensor, "n S"],
    cache: Mapping[str, Cache],
) -> Any:
    return model(**_arguments(input_ids, mask, position, 1), **cache)
