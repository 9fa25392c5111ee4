"""Rules that move one coefficient (τ or β): pairs of `init` and `update`, composed by `chain`, and their settings.

Example:
    Clip the error, smooth it, move log τ, keep τ in its box:

    >>> rule = chain(limit=clip(0.5), smooth=ema(0.9), step=sgd(0.3, space="log"), box=project(0.001, 1.0))
    >>> signal, state = rule.update(Signal(gradient=2.0, value=0.1), rule.init(0.1))
    >>> round(signal.value, 6), signal.events  # .1·exp(−.3·.5)
    (0.086071, ('clipped',))
"""

from maxent_ray.core.update_rules.adaptive import adaptive_pi
from maxent_ray.core.update_rules.anti_windup import anti_windup
from maxent_ray.core.update_rules.base import RuleState, Signal, Tuning, UpdateRule, chain
from maxent_ray.core.update_rules.baselines import adaptive_kl, entropy_step, sac_alpha, threshold_kl
from maxent_ray.core.update_rules.custom_rule import CustomRule
from maxent_ray.core.update_rules.error_rules import PI, SGD, Adam, Newton
from maxent_ray.core.update_rules.measured_rules import AdaptiveKL, EntropyStep, SacAlpha, ThresholdKL
from maxent_ray.core.update_rules.rising import rising_pi
from maxent_ray.core.update_rules.settings import RuleSettings
from maxent_ray.core.update_rules.steps import (
    LOG_STEP_LIMIT,
    Space,
    adam,
    newton,
    proportional_integral,
    sgd,
)
from maxent_ray.core.update_rules.transforms import clip, deadband, ema, project, scale_by_confidence

__all__ = [
    "LOG_STEP_LIMIT",
    "PI",
    "SGD",
    "Adam",
    "AdaptiveKL",
    "CustomRule",
    "EntropyStep",
    "Newton",
    "RuleSettings",
    "RuleState",
    "SacAlpha",
    "Signal",
    "Space",
    "ThresholdKL",
    "Tuning",
    "UpdateRule",
    "adam",
    "adaptive_kl",
    "adaptive_pi",
    "anti_windup",
    "chain",
    "clip",
    "deadband",
    "ema",
    "entropy_step",
    "newton",
    "project",
    "proportional_integral",
    "rising_pi",
    "sac_alpha",
    "scale_by_confidence",
    "sgd",
    "threshold_kl",
]
