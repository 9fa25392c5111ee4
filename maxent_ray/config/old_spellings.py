"""Former spellings of settings, and today's: a configuration that uses one gets an error that names the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maxent_ray.errors import ConfigError

_META = "weighting.controller_meta"
_UNROLL, _FORM = "controller.objective.unroll", "controller.objective.form"


def _both(name: str) -> str:
    return f"controller.tau_rule.{name} and controller.beta_rule.{name}"


NEW_SPELLINGS: Mapping[str, str] = {
    **{
        f"weighting.{name}": f"controller.{name}"
        for name in ("tau", "beta", "tau_min", "tau_max", "beta_min", "beta_max", "entropy_signal", "kl_signal")
    },
    **{f"grpo.{name}": f"weighting.{name}" for name in ("q_temperature", "q_epsilon", "length_normalize_ref")},
    **{
        f"{section}.train_grpo_objective": "weighting.type (grpo is plain GRPO, maxent the default)"
        for section in ("grpo", "weighting")
    },
    "weighting.tau_target_entropy": "controller.target_entropy",
    "weighting.tau_target_entropy_fraction": "controller.target_entropy_fraction",
    "weighting.tau_target_entropy_final_fraction": "controller.target_entropy_final_fraction",
    "weighting.tau_target_entropy_horizon": "controller.target_entropy_horizon",
    "weighting.kl_target": "controller.target_kl",
    f"{_META}.enabled": "controller.objective (null keeps τ and β fixed)",
    f"{_META}.method": "controller.objective.type (analytic or truncated_backprop; first_order is "
    f"truncated_backprop with {_UNROLL}.mode=first_order)",
    f"{_META}.optimizer": _both("type"),
    f"{_META}.space": _both("space"),
    f"{_META}.ema_decay": _both("ema_decay"),
    f"{_META}.dead_band": _both("dead_band"),
    **{
        f"{_META}.{coefficient}_{old}": f"controller.{coefficient}_rule.{new}"
        for coefficient in ("tau", "beta")
        for old, new in (("learning_rate",) * 2, ("proportional_gain",) * 2, ("grad_clip", "clip"))
    },
    **{f"{_META}.{name}": f"controller.{name}" for name in ("warmup_steps", "update_interval", "saturation_patience")},
    f"{_META}.truncation_steps": f"{_UNROLL}.steps",
    f"{_META}.analytic_steps": f"{_UNROLL}.steps",
    **{f"{_META}.hypergradient_{name}": f"{_UNROLL}.{name}" for name in ("mode", "checkpoint", "all_reduce", "groups")},
    f"{_META}.form": f"{_FORM}.type",
    f"{_META}.sensitivity_decay": f"{_FORM}.sensitivity_decay",
    f"{_META}.kl_bandwidth": f"{_FORM}.kl_bandwidth",
    f"{_META}.fallback": "controller.objective.fallback",
    "runtime.reduction": "gone: ranks always reduce among themselves",
    "runtime.retries": "gone: the actor is tried again beside the steps, which do not wait for it",
    "runtime.backoff_s": "gone: the actor is tried again beside the steps, which do not wait for it",
    "runtime.round_policy": "gone: a rank that dies or hangs is an error within runtime.round_timeout_s",
    "runtime.quorum_fraction": "gone: a rank that dies or hangs is an error within runtime.round_timeout_s",
}
"""Dotted key → today's."""


def check_spellings(values: Mapping[str, Any]) -> None:
    """Refuse former spellings.

    Args:
        values: Nested settings, as read from a file and from overrides.

    Raises:
        ConfigError: there are some; one line for each, with today's spelling.

    Example:
        >>> check_spellings({"weighting": {"kl_target": 0.1}})
        Traceback (most recent call last):
        ...
        maxent_ray.errors.ConfigError: weighting.kl_target is now controller.target_kl
    """
    searched = values.get("tune")
    space = searched.get("search_space") if isinstance(searched, Mapping) else None
    keys = [*dotted_keys(values), *(space if isinstance(space, Mapping) else ())]
    lines = [f"{key} is now {NEW_SPELLINGS[key]}" for key in keys if key in NEW_SPELLINGS]
    if lines:
        raise ConfigError("\n".join(lines))


def dotted_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys of all values that are no mappings.

    Example:
        >>> dotted_keys({"train": {"steps": 60, "seed": 1}, "task": {}})
        ['train.steps', 'train.seed', 'task']
    """
    keys: list[str] = []
    for key, value in values.items():
        is_section = isinstance(value, Mapping) and value
        keys += dotted_keys(value, f"{prefix}{key}.") if is_section else [f"{prefix}{key}"]
    return keys
