"""Controller settings for a GRPOTrainer, and what in TRL's own arguments would keep the controller from working."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trl import GRPOConfig

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.statistics import WEIGHT_ENTROPIES
from maxent_ray.core.unions import build_settings
from maxent_ray.errors import ConfigError


def controller_config(
    given: ControllerConfig | Mapping[str, Any], args: GRPOConfig, *, weighs_groups: bool
) -> ControllerConfig:
    """Settings of the controller: as given, starting at TRL's ``beta`` and, without group weights, ``entropy_coef``.

    Args:
        given: Complete, or fields of it.
        args: The trainer's arguments.
        weighs_groups: τ is the temperature of group weights; else it is the coefficient of the entropy bonus.

    Raises:
        ConfigError: a setting of either is out of range, or the two do not fit; says what to change.

    Example:
        >>> args = GRPOConfig(beta=0.04, use_cpu=True, bf16=False, report_to=[])
        >>> controller_config({"target_kl": 0.05}, args, weighs_groups=False).beta
        0.04
    """
    if isinstance(given, ControllerConfig):
        config = given
    elif weighs_groups:
        config = build_settings(ControllerConfig, {"group_size": args.num_generations, **given})
    else:
        config = build_settings(ControllerConfig, {"entropy_signal": "policy_entropy", **given})
    _check_controller(config)
    _check_start(config, args, weighs_groups)
    if weighs_groups:
        _check_group_weights(config, args)
        return replace(config, beta=args.beta)
    _check_policy_signals(config, args)
    return replace(config, beta=args.beta, tau=args.entropy_coef)


def _check_controller(config: ControllerConfig) -> None:
    if config.objective is not None and not (config.moves("tau") or config.moves("beta")):
        raise ConfigError("the controller has no target; give target_kl, target_entropy or both")
    if config.unroll is not None:
        raise ConfigError(f"objective is {config.label}, and nothing unrolls TRL's steps; it must be analytic")


def _check_start(config: ControllerConfig, args: GRPOConfig, weighs_groups: bool) -> None:
    """β as TRL starts: with 0 it loads no reference model, and nothing could raise it later."""
    if args.use_adaptive_entropy:
        raise ConfigError(
            "use_adaptive_entropy is True in GRPOConfig; it must be False: TRL would move entropy_coef by its own rule"
        )
    if (config.moves("beta") or weighs_groups) and not args.beta > 0:
        raise ConfigError(
            f"beta is {args.beta} in GRPOConfig; it must be > 0, such as 0.04: with 0 TRL loads no reference model, so "
            "KL is not measured and β cannot be raised later"
        )
    if config.moves("beta") and not config.bounds("beta")[0] > 0:
        raise ConfigError("beta_min is 0.0; it must be > 0: at 0 TRL no longer scores completions by the reference")
    if config.beta not in (args.beta, ControllerConfig().beta):
        raise ConfigError(f"beta is {config.beta} for the controller and {args.beta} in GRPOConfig; give it there only")


def _check_group_weights(config: ControllerConfig, args: GRPOConfig) -> None:
    if config.moves("tau") and config.entropy_signal not in WEIGHT_ENTROPIES:
        raise ConfigError(
            f"entropy_signal is {config.entropy_signal}; for MaxEntGRPOTrainer it must be "
            f"{' or '.join(WEIGHT_ENTROPIES)}, which τ sets"
        )
    if config.group_size != args.num_generations:
        raise ConfigError(
            f"group_size is {config.group_size}; it must be {args.num_generations}, as num_generations in GRPOConfig"
        )


def _check_policy_signals(config: ControllerConfig, args: GRPOConfig) -> None:
    for name, signal, measured in (
        ("tau", config.entropy_signal, "policy_entropy"),
        ("beta", config.kl_signal, "policy_kl"),
    ):
        if config.moves(name) and signal != measured:
            field = "entropy_signal" if name == "tau" else "kl_signal"
            why = "of group weights; use MaxEntGRPOTrainer, or"
            if signal == "mode_entropy":
                why = "and rewards of TRL tell no modes; use"
            raise ConfigError(f"{field} is {signal}, {why} {field}={measured!r}")
    if config.moves("tau") and args.entropy_coef == 0:
        raise ConfigError(
            "entropy_coef is 0.0 in GRPOConfig; with an entropy target it must be > 0, such as 0.001: TRL leaves the "
            "entropy bonus out for the whole run"
        )
    if config.tau not in (None, args.entropy_coef, ControllerConfig().tau):
        raise ConfigError(
            f"tau is {config.tau} for the controller and entropy_coef is {args.entropy_coef} in GRPOConfig; give it "
            "there only"
        )
