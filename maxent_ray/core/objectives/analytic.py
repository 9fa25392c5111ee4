"""Analytic objective: exact gradients of the convex dual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from maxent_ray.core.objectives.interface import ControllerGradients, ControllerMetaContext, ControllerObjective
from maxent_ray.core.objectives.settings_base import Loops, ObjectiveBase


class AnalyticControllerObjective(ControllerObjective):
    """Exact gradients of the convex dual: ``tau_grad`` = H − H*, ``beta_grad`` = KL − KL* (nats).

    Example:
        >>> from types import SimpleNamespace as View
        >>> context = ControllerMetaContext(
        ...     weighting=View(tau_target_entropy=1.5, kl_target=0.0),
        ...     weight_stats=View(weight_entropy=1.75), loss_outputs=None, global_step=0)
        >>> AnalyticControllerObjective().compute(context).tau_grad
        0.25
    """

    name = "analytic"

    def compute(self, meta_ctx: ControllerMetaContext) -> ControllerGradients | None:
        """Return both errors; None when neither a target entropy nor a positive target KL is set and measured."""
        entropy, kl = meta_ctx.entropy_value(), meta_ctx.kl_metric()
        target_entropy, target_kl = meta_ctx.weighting.tau_target_entropy, meta_ctx.weighting.kl_target
        tau_grad = entropy - target_entropy if entropy is not None and target_entropy is not None else None
        beta_grad = kl - target_kl if kl is not None and target_kl > 0 else None
        if tau_grad is None and beta_grad is None:
            return None
        return ControllerGradients(tau_grad, beta_grad, source=self.name)


@dataclass(frozen=True, kw_only=True)
class Analytic(ObjectiveBase):
    """Settings of the analytic objective.

    Example:
        >>> from maxent_ray import ControllerConfig
        >>> ControllerConfig(group_size=8, target_entropy=1.9, objective=Analytic()).objective.label
        'analytic'
    """

    type: Literal["analytic"] = "analytic"

    def build(self, loops: Loops) -> ControllerObjective:
        """Build the objective."""
        return AnalyticControllerObjective()
