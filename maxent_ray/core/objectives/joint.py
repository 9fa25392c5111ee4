"""The ``joint`` form of truncated backprop: the plain gradient of the meta-loss."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from maxent_ray.core.objectives.interface import ControllerGradients, ControllerMetaContext, Memory
from maxent_ray.core.objectives.sensitivity import Sensitivity
from maxent_ray.core.objectives.settings_base import FormBase, Loops
from maxent_ray.core.objectives.truncated_backprop import SensitivityObjective
from maxent_ray.core.relative_errors import relative_error, usual_scale


def joint(
    sensitivity: Sensitivity,
    target_entropy: float | None,
    target_kl: float,
    entropy_scale: float | None = None,
    kl_scale: float | None = None,
) -> ControllerGradients:
    """The plain gradient of M: ``tau_grad`` = dM/dτ, ``beta_grad`` = −dM/dβ.

    Args:
        sensitivity: Merged over ranks.
        target_entropy: H* (nats); None: no entropy term.
        target_kl: KL* (nats); 0: no KL term.
        entropy_scale: What H − H* is divided by (nats); None: H* itself, or 1 nat if it is not above 0.
        kl_scale: What KL − KL* is divided by (nats); None: KL* itself.
    """
    d_tau = d_beta = 0.0
    if target_entropy is not None:
        scale = usual_scale(target_entropy) if entropy_scale is None else entropy_scale
        error = relative_error(sensitivity.entropy, target_entropy, scale) / scale
        d_tau += error * sensitivity.entropy_tau
        d_beta += error * sensitivity.entropy_beta
    if target_kl > 0:
        scale = target_kl if kl_scale is None else kl_scale
        error = relative_error(sensitivity.kl, target_kl, scale) / scale
        d_tau += error * sensitivity.kl_tau
        d_beta += error * sensitivity.kl_beta
    return ControllerGradients(d_tau, -d_beta)


class JointObjective(SensitivityObjective):
    """Truncated backprop by :func:`joint`."""

    name = "joint"

    def form(
        self, sensitivity: Sensitivity, meta_ctx: ControllerMetaContext, memory: Memory
    ) -> tuple[ControllerGradients, Memory]:
        """Form the signals from one round's merged sensitivities."""
        targets, lacks_entropy = meta_ctx.weighting, self.lacks_entropy(meta_ctx)
        target_entropy = None if lacks_entropy else targets.tau_target_entropy
        aims = (target_entropy, targets.kl_target, meta_ctx.entropy_scale(), meta_ctx.kl_scale())
        signals = joint(sensitivity, *aims)
        return replace(signals, tau_grad=None) if lacks_entropy else signals, memory


@dataclass(frozen=True, kw_only=True)
class Joint(FormBase):
    """Settings of the form.

    Example:
        >>> from maxent_ray.core.objectives import TruncatedBackprop
        >>> TruncatedBackprop(form=Joint()).form.type
        'joint'
    """

    signals_are_relative: ClassVar[bool] = False
    """Its gradients are per unit of coefficient."""

    type: Literal["joint"] = "joint"

    def build(self, loops: Loops, steps: int, fallback: Literal["analytic"] | None) -> SensitivityObjective:
        """The objective."""
        return JointObjective(steps, fallback=fallback)
