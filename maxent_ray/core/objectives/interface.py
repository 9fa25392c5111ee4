"""Interface of controller objectives: inputs, signals, memory.

Signs: ``tau_grad`` is a descent direction (τ falls when it is positive), ``beta_grad`` an ascent direction
(β rises when it is positive).

The names and signatures follow the published controller-objective API of maximum-entropy GRPO trainers, so the
``weighting`` argument may be any object with the attributes of :class:`ObjectiveSource` or :class:`TargetView`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeAlias

from maxent_ray.core.field_types import Within
from maxent_ray.core.numbers import hold_exact_numbers
from maxent_ray.core.objectives.sensitivity import Sensitivity
from maxent_ray.core.state import Coefficients
from maxent_ray.core.update_rules.base import has_keys_of

Memory: TypeAlias = Mapping[str, Any]
"""Memory of an objective: finite numbers by name, nested at will, ready for JSON. It travels in checkpoints."""


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
    """Name of the objective that formed them. ``analytic`` marks signals in nats, which the controller divides by their
    scales; all others are relative errors already."""
    sensitivity: Sensitivity | None = None
    """Measurement of a worker's unroll, when the signals are still to be formed from it."""
    tau_confidence: Annotated[float, Within(-1.0, 1.0)] = 1.0
    """Confidence in the usual direction of τ: ``tau_grad`` is an error times this. A rule sees the error, and this
    share of its step is taken; below 0 the step is reversed, at 0 there is no signal."""
    beta_confidence: Annotated[float, Within(-1.0, 1.0)] = 1.0
    """The same of ``beta_grad``."""

    def __post_init__(self) -> None:
        """Take signals of any library."""
        hold_exact_numbers(self)

    def has_updates(self) -> bool:
        """True when either signal is a finite number."""
        return any(_is_finite_number(value) for value in (self.tau_grad, self.beta_grad))


class TargetView(Protocol):
    """Targets, as the analytic objective reads them of a weighting."""

    @property
    def tau_target_entropy(self) -> float | None:
        """Set point of H (nats), which goes to H*; None: no τ signal."""

    @property
    def kl_target(self) -> float:
        """Set point of KL (nats), which goes to KL*; ≤ 0: no β signal."""


class ObjectiveSource(Protocol):
    """Weighting settings, as :func:`~maxent_ray.core.objectives.build_controller_objective` reads them."""

    @property
    def controller_meta(self) -> Any:
        """None, or an object with ``enabled``, ``method``, ``truncation_steps`` and ``analytic_steps``."""


@dataclass
class ControllerMetaContext:
    """Inputs of an objective for one update. Fields may be assigned, as in the published API.

    Example:
        >>> from types import SimpleNamespace as View
        >>> context = ControllerMetaContext(
        ...     weighting=View(tau_target_entropy=1.5, kl_target=0.05),
        ...     weight_stats=View(weight_entropy=1.75), loss_outputs=View(kl_loss_scalar=0.04), global_step=0)
        >>> context.backprop_fn = lambda steps: ControllerGradients(tau_grad=0.1 * steps)
        >>> context.entropy_value(), context.kl_metric(), context.backprop_fn(2).tau_grad
        (1.75, 0.04, 0.2)
    """

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
    """K → gradients or sensitivities of an unroll of K policy steps."""
    coefficients: Coefficients | None = None
    """τ and β in force, which the update starts from."""

    def entropy_value(self) -> float | None:
        """Measured H: ``weight_stats.weight_entropy``, else ``weight_stats.entropy``, else None (nats)."""
        for name in ("weight_entropy", "entropy"):
            value = optional_attribute(self.weight_stats, name)
            if value is not None:
                return float(value)
        return None

    def entropy_scale(self) -> float | None:
        """Error of H that counts as 100 % (nats): ``weighting.entropy_scale``; None where it has none."""
        value = optional_attribute(self.weighting, "entropy_scale")
        return None if value is None else float(value)

    def kl_scale(self) -> float | None:
        """Error of KL that counts as 100 % (nats): ``weighting.kl_scale``; None where it has none."""
        value = optional_attribute(self.weighting, "kl_scale")
        return None if value is None else float(value)

    def target_kl(self) -> float:
        """KL*, which the set point ``weighting.kl_target`` goes to (nats); the same where it has no other."""
        value = optional_attribute(self.weighting, "target_kl")
        return float(self.weighting.kl_target if value is None else value)

    def kl_metric(self) -> float | None:
        """Measured KL: ``kl_value``, else ``loss_outputs.kl_loss_scalar``, else None (nats)."""
        value = self.kl_value if self.kl_value is not None else optional_attribute(self.loss_outputs, "kl_loss_scalar")
        return None if value is None else float(value)


class ControllerObjective:
    """Base of the objectives. Define ``compute``; one with a memory defines ``init`` and ``update`` instead.

    The memory is passed, never kept: it is part of the controller's state under the objective's ``name``, so it is in
    every checkpoint and travels with a clone.

    Example:
        >>> class MeanError(ControllerObjective):
        ...     name = "mean_error"
        ...     def init(self):
        ...         return {"error": 0.0}
        ...     def update(self, meta_ctx, memory):
        ...         error = meta_ctx.entropy_value() / meta_ctx.weighting.tau_target_entropy - 1
        ...         mean = 0.9 * memory["error"] + 0.1 * error
        ...         return ControllerGradients(tau_grad=mean, source=self.name), {"error": mean}
        >>> from maxent_ray import BatchStatistics, Controller, ControllerConfig
        >>> controller = Controller(ControllerConfig(group_size=8, target_entropy=1.9), objective=MeanError())
        >>> state, _ = controller.step(controller.init(), BatchStatistics(groups=1, weight_entropy_sum=2.0))
        >>> round(state.objective["mean_error"]["error"], 6)
        0.005263
    """

    name = "base"

    def compute(self, meta_ctx: ControllerMetaContext) -> ControllerGradients | None:
        """Form the two signals, or None when there is nothing to act on."""
        raise NotImplementedError(f"{type(self).__name__} must define compute()")

    def init(self) -> Memory:
        """The memory before the first update."""
        return {}

    def update(self, meta_ctx: ControllerMetaContext, memory: Memory) -> tuple[ControllerGradients | None, Memory]:
        """Form the two signals, and the memory that the next update is given."""
        return self.compute(meta_ctx), memory

    def restore(self, memory: Memory) -> Memory:
        """Check a memory that comes from a checkpoint; one with other keys is reset.

        Raises:
            InvalidReportError: an entry is out of range.
        """
        fresh = self.init()
        return memory if has_keys_of(memory, fresh) else fresh


def optional_attribute(view: Any, name: str) -> Any:
    """An attribute that the published API leaves optional: other trainers' objects need not have it."""
    return getattr(view, name, None)


def _is_finite_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
