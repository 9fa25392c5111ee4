"""Checks of what an unroll of PPO's minibatch steps cannot follow, made when the algorithm is configured or built."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.rl_module.apis import SelfSupervisedLossAPI
from ray.rllib.core.rl_module.rl_module import RLModule

from maxent_ray.core.hypergradient import Mode
from maxent_ray.core.objectives import Unroll
from maxent_ray.errors import ConfigError

ANALYTIC = "or use objective='analytic'"
_STEP_METHODS = (
    "compute_loss_for_module",
    "compute_losses",
    "compute_gradients",
    "postprocess_gradients",
    "postprocess_gradients_for_module",
    "apply_gradients",
)
"""Methods of a learner that make a minibatch step."""


def mode_of(unroll: Unroll) -> Mode:
    """The unroll's mode.

    Raises:
        ConfigError: it is ``auto``, which chooses by the free memory of a worker of our own trainer.

    Example:
        >>> mode_of(Unroll(mode="forward"))
        'forward'
    """
    if unroll.mode == "auto":
        raise ConfigError("objective.unroll.mode is 'auto'; for PPO it must be reverse, forward or first_order")
    return unroll.mode


def check_settings(config: PPOConfig, unroll: Unroll, where: str) -> None:
    """Check an algorithm's settings for one module.

    Args:
        config: The settings.
        unroll: The unroll's.
        where: The module, for messages.

    Raises:
        ConfigError: something does not fit; says what to change.

    Example:
        >>> config = PPOConfig().training(train_batch_size_per_learner=256, minibatch_size=128)
        >>> check_settings(config, Unroll(steps=2), "module 'default_policy'")
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: module 'default_policy': objective.unroll.steps is 2, and an epoch has 2 ...
    """
    mode_of(unroll)
    for name, usual in (("all_reduce", False), ("groups", Unroll().groups)):
        found = getattr(unroll, name)
        if found != usual:
            raise ConfigError(f"{where}: objective.unroll.{name} is {found}, which PPO has no use for; leave it out")
    if not config.use_kl_loss:
        raise ConfigError(
            f"{where}: use_kl_loss is False, and truncated backprop differentiates in the KL coefficient too; set "
            f".training(use_kl_loss=True), with kl_coeff=0.0 for no penalty, {ANALYTIC}"
        )
    clip: float | None = config.grad_clip  # RLlib's annotations lack it
    if clip and config.grad_clip_by != "global_norm":
        raise ConfigError(
            f"{where}: grad_clip_by is {config.grad_clip_by!r}, which truncated backprop cannot differentiate; set "
            f".training(grad_clip_by='global_norm'), {ANALYTIC}"
        )
    if config.torch_compile_learner:
        raise ConfigError(
            f"{where}: torch_compile_learner is True, and compiled passes have no second derivative; set "
            f".framework(torch_compile_learner=False), {ANALYTIC}"
        )
    _check_minibatches(config, unroll, where)


def check_learner(learner: PPOTorchLearner, base: type[PPOTorchLearner], module_id: str) -> None:
    """Check a learner that was built, and one of its modules.

    Args:
        learner: The learner.
        base: The class whose steps the unroll follows.
        module_id: The module.

    Raises:
        ConfigError: it makes other steps than the unroll, or the module cannot be unrolled; says what to change.
    """
    where, module = f"module {module_id!r}", learner.module[module_id].unwrapped()
    chosen = learner.config.learner_class  # in an actor the learner's own class is one that Ray derives from it
    changed = [name for name in _STEP_METHODS if getattr(chosen, name) is not getattr(base, name)]
    if changed:
        raise ConfigError(
            f"learner_class is {chosen.__name__}, which has its own {changed[0]}; truncated backprop unrolls "
            f"PPO's own steps: remove it, {ANALYTIC}"
        )
    _check_module(module, where)
    _check_optimizer([optimizer for _, optimizer in learner.get_optimizers_for_module(module_id)], where)


def _check_minibatches(config: PPOConfig, unroll: Unroll, where: str) -> None:
    batch, minibatch = config.train_batch_size_per_learner, config.minibatch_size
    count = 1 if minibatch is None else batch // minibatch
    if count <= unroll.steps:
        largest = batch // (unroll.steps + 1)
        raise ConfigError(
            f"{where}: objective.unroll.steps is {unroll.steps}, and an epoch has {count} minibatch(es), of which one "
            f"is to measure on; set .training(minibatch_size={largest}) or less, or a larger batch, {ANALYTIC}"
        )


def _check_module(module: RLModule, where: str) -> None:
    if module.is_stateful():
        raise ConfigError(f"{where} is recurrent, which truncated backprop cannot unroll; use objective='analytic'")
    if isinstance(module, SelfSupervisedLossAPI):
        raise ConfigError(
            f"{where} is a {type(module).__name__}, which computes its own loss; truncated backprop unrolls PPO's: "
            "use objective='analytic'"
        )


def _check_optimizer(optimizers: Sequence[torch.optim.Optimizer], where: str) -> None:
    names = ", ".join(type(optimizer).__name__ for optimizer in optimizers)
    if len(optimizers) != 1 or not isinstance(optimizers[0], torch.optim.Adam):
        raise ConfigError(
            f"{where}: its optimizers are {names}; truncated backprop follows one Adam or AdamW: use one, {ANALYTIC}"
        )
    for name in ("amsgrad", "maximize"):
        if optimizers[0].defaults[name]:
            raise ConfigError(
                f"{where}: its {names} has {name}=True, which truncated backprop does not follow; "
                f"set it to False, {ANALYTIC}"
            )
