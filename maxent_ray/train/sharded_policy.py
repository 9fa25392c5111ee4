"""Policy and reference of a run that are divided among its ranks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from maxent_ray.config import PolicySettings
from maxent_ray.policy import Policy
from maxent_ray.policy.output_head import output_head
from maxent_ray.policy.sharding import is_sharded, shard_model
from maxent_ray.policy.whole_state import outline
from maxent_ray.train.policy_and_task import uses_bfloat16

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def shard_policy(
    policy: Policy, reference: PreTrainedModel, settings: PolicySettings, device: torch.device
) -> Policy:
    """Divide policy and reference among the ranks of the default process group.

    Where forward passes are in bfloat16, parameters are gathered in it: autocast alone would keep its copies of all
    layers until the backward pass.

    Args:
        policy: On the CPU; its model is changed in place.
        reference: Likewise; the policy's own model where that has adapters.
        settings: Type of forward passes.
        device: Device of this rank.

    Returns:
        The policy with the outline that it is saved by.

    Raises:
        ConfigError: its family has no layers that are known.
    """
    empty = outline(policy.model)
    for model in (policy.model, reference):
        if not is_sharded(model):
            output_head(model)  # tried while parameters are in full precision
            shard_model(model, device, torch.bfloat16 if uses_bfloat16(settings, device) else None)
    return replace(policy, outline=empty)
