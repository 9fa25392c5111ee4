"""Checks of a controller's settings: types, ranges, targets, bounds, and rules that fit their loops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

from maxent_ray.core.numbers import numeric_fields
from maxent_ray.core.objectives.analytic import Analytic
from maxent_ray.core.objectives.settings import ObjectiveSettings
from maxent_ray.core.statistics import WEIGHT_ENTROPIES, EntropySignal, KlReference, KlSignal
from maxent_ray.core.update_rules.error_rules import PI, Newton
from maxent_ray.core.update_rules.loop import Loop, Response
from maxent_ray.core.update_rules.settings import RuleSettings
from maxent_ray.core.weightings import MaxEntWeighting, Weighting
from maxent_ray.errors import ConfigError, UnknownObjectiveError

if TYPE_CHECKING:
    from maxent_ray.core.config import ControllerConfig

_CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "entropy_signal": get_args(EntropySignal),
    "kl_signal": (*get_args(KlSignal), None),
    "kl_reference": get_args(KlReference),
    "entropy_response": (*get_args(Response), None),
    "kl_response": (*get_args(Response), None),
}
"""Field that takes one of several words → these."""


def check_config(config: ControllerConfig) -> None:
    """Check every field.

    Raises:
        ConfigError: a value is out of range, or does not fit the others; the message names the field and its value.

    Example:
        >>> from maxent_ray.core.config import ControllerConfig
        >>> check_config(ControllerConfig(target_entropy=1.9))
    """
    _check_types(config)
    _check_ranges(config)
    _check_weighting(config)
    _check_targets(config)
    for name in ("tau", "beta"):
        _check_bounds(config, name)
    if config.objective is not None:
        config.objective.check(config.loops)
    for name in ("tau", "beta"):
        if config.moves(name):
            _check_rule(config, name)


def _check_types(config: ControllerConfig) -> None:
    """Settings may come from Python, not only from a file that was read."""
    objective, choices = config.objective, get_args(ObjectiveSettings)
    if objective is not None and not isinstance(objective, choices):
        names = ", ".join(f"{choice.__name__}()" for choice in choices)
        raise UnknownObjectiveError(f"objective is {objective!r}; valid: {names}, or None")
    if config.weighting is not None and not isinstance(config.weighting, get_args(Weighting)):
        names = ", ".join(f"{choice.__name__}()" for choice in get_args(Weighting))
        raise ConfigError(f"weighting is {config.weighting!r}; valid: {names}, or None")
    for name, rule in (("tau_rule", config.tau_rule), ("beta_rule", config.beta_rule)):
        if rule is not None and not isinstance(rule, get_args(RuleSettings)):
            names = ", ".join(f"{choice.__name__}()" for choice in get_args(RuleSettings))
            raise ConfigError(f"{name} is {rule!r}; valid: {names}, or None")


def _check_weighting(config: ControllerConfig) -> None:
    """Signals must be those that the weighting has, and a target of H needs a coefficient that τ can be."""
    weighting = config.weighting
    if weighting is None:
        return
    weighting.check(config.group_size)
    _check_kl_signal(config, weighting)
    if config.objective is None:
        return
    if config.moves("tau") and weighting.tau is None:
        others = ", ".join(choice.type for choice in get_args(Weighting) if choice.tau is not None)
        why = f"weighting.type is {weighting.type!r}, which has no coefficient for τ to be"
        raise ConfigError(
            f"{_entropy_target(config)}, and {why}; set it to null, or choose another weighting: {others}"
        )
    if config.moves("tau") and config.entropy_signal in WEIGHT_ENTROPIES and not weighting.has_weights:
        why = f"the answers of weighting {weighting.type!r} have no weights"
        raise ConfigError(
            f"entropy_signal is {config.entropy_signal!r}, and {why}; choose policy_entropy with a target_entropy in "
            "nats per token, or set target_entropy and target_entropy_fraction to null"
        )


def _check_kl_signal(config: ControllerConfig, weighting: Weighting) -> None:
    """Without a reference in the weights there is no KL(w‖p), neither to be held nor to be recorded."""
    if config.kl_signal == "weight_kl" and not weighting.reference_in_weights:
        where = (
            "weighting.reference is 'loss'"
            if isinstance(weighting, MaxEntWeighting)
            else f"weighting.type is {weighting.type!r}"
        )
        remedy = "choose policy_kl, or weighting.type maxent with weighting.reference weights_and_loss"
        raise ConfigError(f"kl_signal is {config.kl_signal!r}, and {where}: no reference is in the weights; {remedy}")


def _entropy_target(config: ControllerConfig) -> str:
    in_nats = config.target_entropy is not None
    name = "target_entropy" if in_nats else "target_entropy_fraction"
    return f"{name} is {config.target_entropy if in_nats else config.target_entropy_fraction}"


def _check_rule(config: ControllerConfig, name: str) -> None:
    rule, loop = config.rule(name), config.loop(name)
    rule.check(loop)
    if rule.reads_measurement and not isinstance(config.objective, Analytic):
        why = f"it reads {loop.signal} and its target, and would ignore the signals of {config.label}"
        raise ConfigError(f"{loop.field}.type is {rule.type}; {why}: use it with the analytic objective")
    if isinstance(rule, Newton) and config.weighting is not None:
        _check_slope(config.weighting, loop)
    is_relative = config.objective is None or config.objective.signals_are_relative
    if isinstance(rule, PI) and rule.finds_gains(loop) and not is_relative:
        why = "gains are found for relative errors, and the gradients of joint are per unit of coefficient"
        remedy = f"set {loop.field}.learning_rate, or {loop.response_field} to fast or slow, or choose form paired"
        raise ConfigError(f"{loop.response_field} is auto and objective.form.type is joint: {why}; {remedy}")


def _check_slope(weighting: Weighting, loop: Loop) -> None:
    """Newton's steps are by the slope of the weights in τ, or in β: there must be one."""
    is_tau = loop.coefficient == "tau"
    if not (weighting.has_weights if is_tau else weighting.reference_in_weights):
        lacks = "no weights" if is_tau else "no reference in its weights"
        why = f"its steps are by the slope of the weights, and weighting.type {weighting.type!r} has {lacks}"
        raise ConfigError(f"{loop.field}.type is newton; {why}: set it to pi")


def _check_targets(config: ControllerConfig) -> None:
    for name in ("target_entropy", "target_entropy_final"):
        nats, fraction = getattr(config, name), getattr(config, f"{name}_fraction")
        if nats is not None and fraction is not None:
            raise ConfigError(f"{name} is {nats} and {name}_fraction is {fraction}; give one of the two")
        _require(fraction is None or 0 < fraction < 1, f"{name}_fraction", fraction, "in (0, 1)")
        if fraction is not None and config.entropy_signal == "policy_entropy":
            why = f"it is of log G, the largest weight entropy, and entropy_signal is {config.entropy_signal!r}"
            raise ConfigError(f"{name}_fraction is {fraction}; {why}: set {name}, in nats")
        if nats is not None:
            _check_nats(config, name, nats)
    if config.entropy_targets[1] is not None:
        _require(config.entropy_targets[0] is not None, "target_entropy", None, "set when target_entropy_final is")
        _require(config.target_entropy_horizon >= 1, "target_entropy_horizon", config.target_entropy_horizon, ">= 1")
    _require(config.target_kl >= 0, "target_kl", config.target_kl, ">= 0 nats (0: β is not controlled)")
    if config.target_kl > 0 and config.kl_signal is None:
        remedy = f"set kl_signal to {' or '.join(get_args(KlSignal))}, or leave target_kl at 0"
        raise ConfigError(f"target_kl is {config.target_kl} and kl_signal is None: no KL is measured; {remedy}")


def _check_nats(config: ControllerConfig, name: str, value: float) -> None:
    if config.entropy_signal == "policy_entropy":  # of densities it may be negative
        return
    _require(value > 0, name, value, "> 0 nats per group; only a policy_entropy may be negative")
    if config.group_size is not None:
        uniform = "G distinct modes" if config.entropy_signal == "mode_entropy" else "uniform weights"
        bound = f"< log G = {config.max_entropy:.4f} nats, the entropy of {uniform} (G = {config.group_size})"
        # log G written with four decimals is log G, and no finite τ reaches it
        _require(value < config.max_entropy * (1 - 1e-4), name, value, bound)


def _check_ranges(config: ControllerConfig) -> None:
    for name, valid in _CHOICES.items():
        if getattr(config, name) not in valid:
            raise ConfigError(f"{name} is {getattr(config, name)!r}; valid: {', '.join(filter(None, valid))}")
    _require(config.group_size is None or config.group_size >= 2, "group_size", config.group_size, ">= 2")
    for name, usual in numeric_fields(type(config)):  # type: ignore[arg-type]  # classes are hashable
        value = getattr(config, name)
        if not isinstance(value, int | float | None) or isinstance(value, bool):
            raise ConfigError(f"{name} is {value!r}; it must be a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{name} is {value}; it must be finite")
        if isinstance(value, float) and usual is int:
            raise ConfigError(f"{name} is {value}; it must be a whole number")
    for name in ("update_interval", "saturation_patience"):
        _require(getattr(config, name) >= 1, name, getattr(config, name), ">= 1")
    _require(config.warmup_steps >= 0, "warmup_steps", config.warmup_steps, ">= 0")
    horizon, factor = config.set_point_horizon, config.max_step_factor
    _require(horizon >= 0, "set_point_horizon", horizon, ">= 0 steps: 0 for set points that jump to their targets")
    range_ = "> 1: 3 lets τ and β at most triple in one step, null sets no limit"
    _require(factor is None or factor > 1, "max_step_factor", factor, range_)
    scale = config.entropy_scale
    _require(scale is None or scale > 0, "entropy_scale", scale, "> 0 nats")


def _check_bounds(config: ControllerConfig, name: str) -> None:
    value, (low, high) = config.initial(name), config.bounds(name)
    may_be_zero = name == "beta" or not config.reference_in_weights
    _require(low >= 0 if may_be_zero else low > 0, f"{name}_min", low, ">= 0" if may_be_zero else "> 0")
    if name == "tau" and config.weighting is not None:
        most = config.tau_range.most
        valid = f"in [0, {most:g}], the range of weighting {config.weighting.type!r}"
        for field, given in (("tau", value), ("tau_min", low), ("tau_max", high)):
            _require(given <= most, field, given, valid)
    if low > high:
        raise ConfigError(f"{name}_min is {low} and {name}_max is {high}: the bounds cross")
    if config.moves(name):
        _require(low <= value <= high, name, value, f"in [{low}, {high}]")
    else:
        _require(value >= 0, name, value, ">= 0")


def _require(holds: bool, name: str, value: object, valid: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value}; it must be {valid}")
