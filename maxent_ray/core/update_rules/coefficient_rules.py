"""The update rule that moves one coefficient, put together from the settings."""

from __future__ import annotations

from maxent_ray.core import update_rules
from maxent_ray.core.config import ControllerConfig, Gains
from maxent_ray.core.update_rules import UpdateRule


def build_rule(config: ControllerConfig, name: str) -> UpdateRule:
    """clip → ema → dead band → step → project, those of them that the settings of one coefficient ask for.

    Args:
        config: The controller's settings.
        name: ``"tau"`` or ``"beta"``.

    Example:
        >>> config = ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05, tau_grad_clip=None)
        >>> sorted(build_rule(config, "tau").init(0.3))
        ['step.previous_gradient', 'step.started']
    """
    if config.is_decoupled:  # it steps by itself, inside its own trust region: what it proposes is taken as it is
        bounds = {"project": update_rules.project(*config.bounds(name))} if config.moves(name) else {}
        return update_rules.chain(step=update_rules.sgd(1.0, space="log"), **bounds)
    is_tau = name == "tau"
    clip = config.tau_grad_clip if is_tau else config.beta_grad_clip
    parts: dict[str, UpdateRule] = {}
    if clip is not None:
        parts["clip"] = update_rules.clip(clip)
    if config.ema_decay > 0:
        parts["ema"] = update_rules.ema(config.ema_decay)
    if config.dead_band > 0:
        parts["deadband"] = update_rules.deadband(config.dead_band)
    parts["step"] = _step_rule(config, config.gains(name))
    if config.moves(name):
        parts["project"] = update_rules.project(*config.bounds(name))
    return update_rules.anti_windup(update_rules.chain(**parts))


def _step_rule(config: ControllerConfig, gains: Gains) -> UpdateRule:
    match config.optimizer:
        case "sgd":
            return update_rules.sgd(gains.integral, space=config.space)
        case "adam":
            return update_rules.adam(gains.integral, space=config.space)
        case "newton":
            return update_rules.newton(damping=1e-2, learning_rate=gains.integral, max_step=0.5, space=config.space)
        case "pi":
            return update_rules.proportional_integral(gains.proportional, gains.integral, space=config.space)
