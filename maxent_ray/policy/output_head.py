"""The output head of a causal language model: from hidden states to logits, for some of the tokens at a time.

Most families compute logits as ``head(hidden states)``. Some scale, cap or mask them afterwards, in code of their own;
then logits stand in for the hidden states, and the head is the identity: the same results, in more memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from maxent_ray.policy.block_cache import can_share
from maxent_ray.policy.forward import group_states, last_logits, last_states
from maxent_ray.policy.recomputing import is_recomputing
from maxent_ray.policy.rollout import Rollout
from maxent_ray.policy.sharding import is_sharded

logger = logging.getLogger(__name__)

Head = Callable[[Float[Tensor, "n D"]], Float[Tensor, "n V"]]
"""From the states of n tokens to their logits."""
_known: WeakKeyDictionary[nn.Module, nn.Module | None] = WeakKeyDictionary()
"""Output head of each model that was asked for it, a property of its code; None: logits are more than the head's."""
_shares: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""True for each model, likewise, in which a prompt may be read once for its group."""
_TEST_TOKENS = 5
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Largest difference of logits that is put down to rounding, relative to the largest logit."""


def states_and_head(
    network: nn.Module, rollout: Rollout, params: Mapping[str, Tensor] | None = None
) -> tuple[Float[Tensor, "N C D"], Head]:
    """Compute the states from which each completion token is predicted, and find the head that reads them.

    Args:
        network: The model, or the model in ``DistributedDataParallel``.
        rollout: The sampled sequences.
        params: Replaces the model's parameters, in the head too.

    Example:
        >>> from maxent_ray.policy import load_policy, sample_groups
        >>> policy = load_policy("embedded", device=torch.device("cpu"))
        >>> rollout = sample_groups(
        ...     policy, ["2,3,4=9:"], group_size=2, max_new_tokens=8, temperature=1.0, seed=0
        ... )
        >>> states, head = states_and_head(policy.model, rollout)
        >>> states.shape[-1], head(states[0]).shape[-1]
        (128, 24)
    """
    model = unwrapped(network)
    count = rollout.completion_mask.shape[1]
    inputs = (rollout.input_ids[:, :-1], rollout.attention_mask[:, :-1], count, params)
    head = output_head(model)
    if head is None:
        return last_logits(network, *inputs), nn.Identity()
    if rollout.group_size > 1 and shares_prompts(model, head):
        places = rollout.prompt_length, rollout.group_size
        states: Tensor | None = group_states(network, head, *inputs[:2], *places, params)
    else:
        states = last_states(network, head, *inputs)
    assert states is not None  # output_head tried it
    return states, head if params is None else partial(functional_call, head, _params_of(head, model, params))


def unwrapped(network: nn.Module) -> nn.Module:
    """The model itself, without ``DistributedDataParallel``.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> unwrapped(layer) is layer
        True
    """
    return network.module if isinstance(network, DistributedDataParallel) else network


def output_head(model: nn.Module) -> nn.Module | None:
    """Find the module that alone makes logits of the last hidden states; None where there is none.

    Tried once for each model, on a few tokens in full precision.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> output_head(load_policy("embedded", device=torch.device("cpu")).model)
        Linear(in_features=128, out_features=24, bias=False)
    """
    if model not in _known:
        _known[model] = _tried(model)
        if _known[model] is None:
            logger.info("%s: logits are computed for all tokens at once", type(model).__name__)
    return _known[model]


@torch.no_grad()
def _tried(model: nn.Module) -> nn.Module | None:
    head = model.get_output_embeddings()  # type: ignore[operator]
    if head is None:
        return None
    parameter = next(model.parameters())
    ids = torch.arange(_TEST_TOKENS, device=parameter.device)[None]
    with torch.autocast(parameter.device.type, enabled=False):
        inputs = (ids, torch.ones_like(ids), _TEST_TOKENS)
        states, logits = last_states(model, head, *inputs), last_logits(model, *inputs)
        if states is None:
            return None
        found: Tensor = head(states)
    if found.shape != logits.shape:
        return None
    is_finite = logits.isfinite()
    largest = logits[is_finite].abs().max()
    same = (found - logits)[is_finite].abs().max() <= _ROUNDING[parameter.dtype] * largest
    return head if bool(same) and torch.equal(found.isfinite(), is_finite) else None


def shares_prompts(model: nn.Module, head: nn.Module) -> bool:
    """True where a prompt may be read once for all sequences of a group.

    Tried once for each model, on a few tokens in full precision; never while layers are computed again in the backward
    pass, which a cache does not survive, or where parameters are divided among ranks: completions of a single token
    would need a pass less than those of another rank.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> model = load_policy("embedded", device=torch.device("cpu")).model
        >>> shares_prompts(model, model.lm_head)
        True
    """
    if is_recomputing(model) or is_sharded(model):
        return False
    if model not in _shares:
        _shares[model] = _tried_in_groups(model, head)
    return _shares[model]


@torch.no_grad()
def _tried_in_groups(model: nn.Module, head: nn.Module) -> bool:
    parameter = next(model.parameters())
    ids = torch.arange(4 * _TEST_TOKENS, device=parameter.device).view(4, -1) % _TEST_TOKENS
    ids[:, :3] = ids[:1, :3]  # two groups of one prompt, of which the second is padded
    mask = torch.ones_like(ids)
    mask[2:, 0] = 0
    with torch.autocast(parameter.device.type, enabled=False):
        if not can_share(model(input_ids=ids, attention_mask=mask, use_cache=True).get("past_key_values")):
            return False
        count = _TEST_TOKENS - 2
        whole, grouped = last_states(model, head, ids, mask, count), group_states(model, head, ids, mask, 3, 2)
    assert whole is not None  # output_head tried it
    return bool((whole - grouped).abs().max() <= _ROUNDING[parameter.dtype] * whole.abs().max())


def _params_of(head: nn.Module, model: nn.Module, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of the head out of the model's; a tied one has its one name in ``named_parameters`` of the model."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    own = {name: names[id(parameter)] for name, parameter in head.named_parameters()}
    return {name: params[full] for name, full in own.items() if full in params}
