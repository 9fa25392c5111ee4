"""Truncated backprop: derivatives of the meta-loss through K policy steps."""

from __future__ import annotations

import warnings
from typing import Literal

from maxent_ray.core.objectives.analytic import AnalyticControllerObjective
from maxent_ray.core.objectives.interface import ControllerGradients, ControllerMetaContext, ControllerObjective
from maxent_ray.errors import ConfigError


class TruncatedBackpropControllerObjective(ControllerObjective):
    """Derivatives through K policy steps, obtained by calling ``backprop_fn(K)``.

    Args:
        steps: K ≥ 1.
        fallback: What to do without a usable callback result: ``"analytic"`` returns the analytic gradients
            labelled as such (one warning an objective, counted in ``fallbacks``), None returns no update.

    Raises:
        ConfigError: ``steps`` < 1, or an unknown ``fallback``.
    """

    name = "truncated_backprop"

    def __init__(self, steps: int = 1, *, fallback: Literal["analytic"] | None = "analytic") -> None:
        if steps < 1:
            raise ConfigError(f"truncation steps must be >= 1, got {steps}")
        if fallback not in ("analytic", None):
            raise ConfigError(f"fallback must be 'analytic' or None, got {fallback!r}")
        self.steps = steps
        self.fallback = fallback
        self.fallbacks = 0

    def compute(self, meta_ctx: ControllerMetaContext) -> ControllerGradients | None:
        """Return the callback's gradients, else what ``fallback`` says."""
        result = meta_ctx.backprop_fn(self.steps) if meta_ctx.backprop_fn is not None else None
        if result is not None and result.has_updates():
            return result
        if self.fallback is None:
            return None
        self.fallbacks += 1
        if self.fallbacks == 1:
            warnings.warn(
                f"step {meta_ctx.global_step}: no usable truncated-backprop gradients; using analytic gradients, "
                "labelled as such (pass fallback=None to skip the update instead)",
                RuntimeWarning,
                stacklevel=2,
            )
        return AnalyticControllerObjective().compute(meta_ctx)
