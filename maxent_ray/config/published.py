"""Weighting settings under the names of the published API: a view for its callers."""

from __future__ import annotations

from typing import Literal

from maxent_ray.config.section import Section
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.objectives import TruncatedBackprop


class ControllerMetaSettings(Section):
    """The objective, as :func:`~maxent_ray.core.objectives.build_controller_objective` reads it."""

    enabled: bool = True
    method: str = "analytic"
    truncation_steps: int | None = None
    """K of truncated backprop; unset: ``analytic_steps``."""
    analytic_steps: int = 1
    fallback: Literal["analytic"] | None = None


class WeightingSettings(Section):
    """Coefficients, targets and objective under the names of the published API.

    Example:
        >>> from maxent_ray import ExperimentConfig, build_controller_objective
        >>> config = ExperimentConfig()
        >>> weighting = config.published_weighting
        >>> build_controller_objective(config.grpo, weighting).name, weighting.kl_target
        ('analytic', 0.2)
    """

    tau: float = 0.3
    beta: float = 0.1
    tau_target_entropy: float | None = None
    """H* in nats; None: τ is left alone."""
    kl_target: float = 0.0
    """KL* in nats; 0: β is left alone."""
    controller_meta: ControllerMetaSettings = ControllerMetaSettings()

    @classmethod
    def of(cls, config: ControllerConfig) -> WeightingSettings:
        """The view of a controller's settings, at the start of the run."""
        objective = config.objective
        truncated = objective if isinstance(objective, TruncatedBackprop) else None
        return cls(
            tau=config.initial("tau"),
            beta=config.beta,
            tau_target_entropy=config.target_entropy_at(0),
            kl_target=config.target_kl,
            controller_meta=ControllerMetaSettings(
                enabled=objective is not None,
                method="analytic" if objective is None else objective.label,
                truncation_steps=None if config.unroll is None else config.unroll.steps,
                fallback=None if truncated is None else truncated.fallback,
            ),
        )
