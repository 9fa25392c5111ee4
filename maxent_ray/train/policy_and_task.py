"""Policy and task of a run, checked to go together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import torch

from maxent_ray.config import ExperimentConfig, PolicySettings
from maxent_ray.policy import Policy, add_adapters, check_prompts, for_chats, load_policy, write_chat
from maxent_ray.policy.sharding import check_layers
from maxent_ray.tasks import ChatTask, Task
from maxent_ray.train.run_task import asked_texts, build_run_task

Precision = Callable[[], AbstractContextManager[object]]
"""Creates the context of one forward pass, such as autocast to bfloat16."""


def load_policy_and_task(
    config: ExperimentConfig, device: torch.device, *, on_cpu: bool = False
) -> tuple[Policy, Task]:
    """Load the policy, build the task, write its chats, and check that all its prompts can be asked and leave room.

    Args:
        config: The experiment.
        device: Device of the policy.
        on_cpu: Leave the policy on the CPU, from where it is divided among the ranks' devices.

    Raises:
        PolicyLoadError: the model or its tokenizer cannot be loaded, or it cannot be sampled and scored rightly.
        TaskError: the task is empty or too small, or the tokenizer changes a prompt, or has no chat template for chats.
        ConfigError: ``grpo.max_new_tokens`` is more than the model's positions leave; the task does not tell the modes
            that are to be tracked; the model has no layers that can be divided.
    """
    task = build_run_task(config)
    place = torch.device("cpu") if on_cpu else device
    policy = load_policy(
        config.policy_model,
        device=place,
        dtype=_parameter_dtype(config.policy, device),
        precision=partial(_autocast, place, uses_bfloat16(config.policy, device)),
    )
    if on_cpu:
        check_layers(policy.model)
    if config.policy.lora is not None:
        add_adapters(policy.model, **config.policy.lora.model_dump())
    if isinstance(task, ChatTask) and task.has_chats:
        policy = for_chats(policy)
        task = task.written(partial(write_chat, policy))
    check_prompts(policy, asked_texts(task, config), max_new_tokens=config.grpo.max_new_tokens)
    return policy, task


def _parameter_dtype(settings: PolicySettings, device: torch.device) -> torch.dtype:
    """Type of the model's parameters: of frozen ones that of forward passes, since no small step is added to them."""
    if settings.lora is None or not uses_bfloat16(settings, device):
        return torch.float32
    return torch.bfloat16


def uses_bfloat16(settings: PolicySettings, device: torch.device) -> bool:
    """True where forward passes on a device are in bfloat16."""
    return settings.dtype == "bfloat16" or (settings.dtype == "auto" and device.type == "cuda")


def forward_precision(settings: PolicySettings, device: torch.device) -> torch.autocast:
    """Autocast of forward passes to bfloat16, if configured.

    Trained parameters and AdamW's moments stay in float32: in bfloat16 a step of 1e-4 would round to nothing. So do the
    exact unrolls, whose second derivatives would be lost in bfloat16's rounding; ``first_order`` has none, and runs in
    this precision.
    """
    return _autocast(device, uses_bfloat16(settings, device))


def _autocast(device: torch.device, enabled: bool) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)
