"""The ``controller`` section: targets of an experiment, and what follows from ``grpo`` and ``weighting``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from maxent_ray.config.dataclass_section import read_section
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.field_types import shown
from maxent_ray.core.weightings import Weighting
from maxent_ray.errors import ConfigError

EXPERIMENT_TARGETS = {"target_entropy_fraction": 0.8, "target_kl": 0.2}
"""Targets of an experiment that names none."""
_FOLLOWS = {"group_size": "grpo.group_size", "weighting": "weighting"}
"""Field that is no key of a configuration → the setting that it follows."""


def read_controller(values: object, weighting: Weighting | None = None) -> ControllerConfig:
    """Build the settings of an experiment's controller.

    Args:
        values: A mapping of settings; ``group_size`` is not among them, it is ``grpo.group_size``.
        weighting: The experiment's. A target of the entropy of weights is the default only where it has weights.

    Raises:
        ConfigError: a key is unknown, a ``type`` does not exist or a value is out of range; the message names the valid
            ones.

    Example:
        >>> read_controller({"tau_rule": {"type": "adam", "learning_rate": 0.1}}).tau_rule.learning_rate
        0.1
        >>> read_controller({"objective": {"type": "truncated_backprop", "form": {"type": "jint"}}})
        Traceback (most recent call last):
        ...
        maxent_ray.errors.ConfigError: controller.objective.form.type is 'jint'; valid: decoupled, joint, paired
    """
    if isinstance(values, ControllerConfig):
        if values.weighting not in (None, weighting):
            raise ConfigError(f"controller.weighting is {values.weighting}; set weighting, which it follows")
        return replace(values, weighting=weighting)
    if not isinstance(values, Mapping):
        raise ConfigError(f"controller is {shown(values)}; it must be a mapping of settings")
    for name, followed in _FOLLOWS.items():
        if values.get(name) is not None:
            raise ConfigError(f"controller.{name} is {shown(values[name])}; set {followed}, which it follows")
    targets = dict(EXPERIMENT_TARGETS)
    is_given = values.get("target_entropy") is not None or "target_entropy_fraction" in values
    if is_given or (weighting is not None and not weighting.has_weights):
        del targets["target_entropy_fraction"]
    return read_section(ControllerConfig, "controller", {**targets, **values, "weighting": weighting})
