"""Controller objectives: from what was measured to the two error signals that move τ and β.

Signs: ``tau_grad`` is a descent direction (τ falls when it is positive), ``beta_grad`` an ascent direction
(β rises when it is positive).

The names and signatures follow the published controller-objective API of maximum-entropy GRPO trainers, so the
``weighting`` argument may be any object with the attributes of :class:`ObjectiveSource` or :class:`TargetView`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from maxent_ray.core.objectives.sensitivity import Sensitivity


@dataclass(frozen=True)
class ControllerGradients:
    """The two error signals. A signal that does not exist is None.

    Example:
        >>> ControllerGradients(tau_grad=0.1).has_updates()
        True
        >>> ControllerGradients(tau_grad=float("nan")).has_updates()
        False
    """

    tau_grad: float | None = None
    beta_grad: float | None = None
    source: str = ""
    """Name of the objective that formed them."""
    sensitivity: Sensitivity | None = None
    """What a worker's unroll measured, when the signals are still to be formed from it."""

    def has_updates(self) -> bool:
        """Whether either signal is a finite number."""
        return any(_is_finite_number(value) for value in (self.tau_grad, self.beta_grad))


class TargetView(Protocol):
    """What the analytic objective reads of a weighting."""

    @property
    def tau_target_entropy(self) -> float | None:
        """H* in nats; None: no τ signal."""

    @property
    def kl_target(self) -> float:
        """KL* in nats; ≤ 0: no β signal."""


class ObjectiveSource(Protocol):
    """What :func:`build_controller_objective` reads of a weighting."""

    @property
    def controller_meta(self) -> Any:
        """None, or an object with ``enabled``, ``method``, ``truncation_steps`` and ``analytic_steps``."""


@dataclass(frozen=True)
class ControllerMetaContext:
    """Everything an objective may look at, for one update."""

    weighting: Any
    """A :class:`TargetView`."""
    weight_stats: Any
    """An object with ``weight_entropy`` or, as a logging view, ``entropy`` (nats)."""
    loss_outputs: Any
    """An object with ``kl_loss_scalar`` (nats), used when ``kl_value`` is None."""
    global_step: int
    lr_scale: float = 1.0
    prepared_batch: Any = None
    kl_value: float | None = None
    backprop_fn: Callable[[int], ControllerGradients | None] | None = None

    def entropy_value(self) -> float | None:
        """Measured H: ``weight_stats.weight_entropy``, else ``weight_stats.entropy``, else None (nats)."""
        for name in ("weight_entropy", "entropy"):
            value = optional_attribute(self.weight_stats, name)
            if value is not None:
                return float(value)
        return None

    def kl_metric(self) -> float | None:
        """Measured KL: ``kl_value``, else ``loss_outputs.kl_loss_scalar``, else None (nats)."""
        value = self.kl_value if self.kl_value is not None else optional_attribute(self.loss_outputs, "kl_loss_scalar")
        return None if value is None else float(value)


class ControllerObjective:
    """Base of the objectives: a pure function of its context."""

    name = "base"

    def compute(self, meta_ctx: ControllerMetaContext) -> ControllerGradients | None:
        """Form the two signals, or None when there is nothing to act on."""
        raise NotImplementedError(f"{type(self).__name__} must define compute()")


def optional_attribute(view: Any, name: str) -> Any:
    """An attribute that the published API leaves optional: other trainers' objects need not have it."""
    return getattr(view, name, None)


def _is_finite_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
