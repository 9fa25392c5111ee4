"""The ``controller`` section: targets of an experiment, and a group size that follows ``grpo.group_size``."""

from __future__ import annotations

from collections.abc import Mapping

from maxent_ray.config.dataclass_section import read_section
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.field_types import shown
from maxent_ray.errors import ConfigError

EXPERIMENT_TARGETS = {"target_entropy_fraction": 0.95, "target_kl": 0.05}
"""Targets of an experiment that names none."""


def read_controller(values: object) -> ControllerConfig:
    """Build the settings of an experiment's controller.

    Args:
        values: A mapping of settings; ``group_size`` is not among them, it is ``grpo.group_size``.

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
        return values
    if not isinstance(values, Mapping):
        raise ConfigError(f"controller is {shown(values)}; it must be a mapping of settings")
    if values.get("group_size") is not None:
        size = shown(values["group_size"])
        raise ConfigError(f"controller.group_size is {size}; set grpo.group_size, which it follows")
    targets = dict(EXPERIMENT_TARGETS)
    if values.get("target_entropy") is not None or "target_entropy_fraction" in values:
        del targets["target_entropy_fraction"]
    return read_section(ControllerConfig, "controller", {**targets, **values})
