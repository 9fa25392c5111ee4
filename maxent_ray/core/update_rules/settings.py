"""Settings of the update rules: a union on ``type``, each member declaring its own and building its rule."""

from __future__ import annotations

from typing import TypeAlias

from maxent_ray.core.update_rules.anti_windup import anti_windup
from maxent_ray.core.update_rules.base import UpdateRule, chain
from maxent_ray.core.update_rules.custom_rule import CustomRule
from maxent_ray.core.update_rules.error_rules import PI, SGD, Adam, Newton
from maxent_ray.core.update_rules.loop import Loop
from maxent_ray.core.update_rules.measured_rules import AdaptiveKL, EntropyStep, SacAlpha, ThresholdKL
from maxent_ray.core.update_rules.transforms import project

RuleSettings: TypeAlias = (
    PI | SGD | Adam | Newton | AdaptiveKL | ThresholdKL | EntropyStep | SacAlpha | CustomRule
)
"""All update rules that settings can name; a new one is a class with its settings, and its name here."""


def build_rule(settings: RuleSettings, loop: Loop) -> UpdateRule:
    """Chain a rule's parts inside the coefficient's bounds, with anti-windup.

    Raises:
        ConfigError: user code cannot be imported, or is no rule.

    Example:
        >>> loop = Loop("tau", "weight_entropy", low=1e-3, high=100.0)
        >>> build_rule(PI(clip=None, ema_decay=0.0), loop).init(0.3)
        {'step': {'previous_gradient': 0.0, 'started': 0.0}}
    """
    return anti_windup(chain(**settings.parts(loop), project=project(loop.low, loop.high)))
