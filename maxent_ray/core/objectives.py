"""Controller objectives: from what was measured to the two error signals that move τ and β.

Signs: ``tau_grad`` is a descent direction (τ falls when it is positive), ``beta_grad`` an ascent direction
(β rises when it is positive).

The names and signatures follow the published controller-objective API of maximum-entropy GRPO trainers, so the
``weighting`` argument may be any object with the attributes of :class:`ObjectiveSource` or :class:`TargetView`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from maxent_ray.core.field_kinds import Within
from maxent_ray.errors import ConfigError, UnknownObjectiveError

ANALYTIC_METHODS = ("analytic", "analytic_grad", "potential")
TRUNCATED_METHODS = ("truncated", "truncated_backprop", "backprop", "first_order")


@dataclass(frozen=True)
class Sensitivity:
    """What the unroll of K policy steps measured on one rank, or on all of them after merging.

    The values are means over the unrolled sequences; ``tokens`` is the weight of a rank in a merge.
    """

    entropy: float
    """H after K steps (nats, of the declared entropy signal)."""
    kl: float
    """KL after K steps (nats per token, full vocabulary)."""
    entropy_tau: float
    """dH_K/dτ."""
    entropy_beta: float
    """dH_K/dβ."""
    kl_tau: float
    """dKL_K/dτ."""
    kl_beta: float
    """dKL_K/dβ."""
    steps: int
    """K."""
    tokens: int
    """Completion tokens that were unrolled over."""
    tau: float
    """τ that the batch was trained with, and that the derivatives were taken at."""
    beta: float
    """β of the same."""
    version: int
    """Version of these coefficients: decisions since then have not shown in the batch."""
    share: Annotated[float, Within(1e-9, 1.0)]
    """Share of one batch's gradient in the live optimiser's step, and in each unrolled one: (1 − β₁)/(1 − β₁ᵗ) of
    Adam after t updates, 1 without momentum. What lasts has 1/share of the unrolled effect on every real step."""


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
            value = _optional(self.weight_stats, name)
            if value is not None:
                return float(value)
        return None

    def kl_metric(self) -> float | None:
        """Measured KL: ``kl_value``, else ``loss_outputs.kl_loss_scalar``, else None (nats)."""
        value = self.kl_value if self.kl_value is not None else _optional(self.loss_outputs, "kl_loss_scalar")
        return None if value is None else float(value)


class ControllerObjective:
    """Base of the objectives: a pure function of its context."""

    name = "base"

    def compute(self, meta_ctx: ControllerMetaContext) -> ControllerGradients | None:
        """Form the two signals, or None when there is nothing to act on."""
        raise NotImplementedError(f"{type(self).__name__} must define compute()")


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


def build_controller_objective(cfg: Any, weighting: Any) -> ControllerObjective | None:
    """The objective that ``weighting.controller_meta`` asks for, or None when it is missing or not enabled.

    Args:
        cfg: The trainer's config; kept for callers of the published API, not read.
        weighting: Any object; ``controller_meta`` may carry ``enabled``, ``method``, ``truncation_steps`` (if
            unset: ``analytic_steps``) and ``fallback``.

    Raises:
        UnknownObjectiveError: the method is not one of the valid ones, which the message names.
    """
    del cfg
    meta = _optional(weighting, "controller_meta")
    if meta is None or not _optional(meta, "enabled"):
        return None
    method = str(meta.method).lower()
    if method in ANALYTIC_METHODS:
        return AnalyticControllerObjective()
    if method in TRUNCATED_METHODS:
        given = (_optional(meta, name) for name in ("truncation_steps", "analytic_steps"))
        steps = next((value for value in given if value is not None), 1)
        fallback: Any = meta.fallback if hasattr(meta, "fallback") else "analytic"
        return TruncatedBackpropControllerObjective(steps, fallback=fallback)
    valid = ", ".join(ANALYTIC_METHODS + TRUNCATED_METHODS)
    raise UnknownObjectiveError(f"controller_meta.method is {meta.method!r}; valid methods: {valid}")


def _optional(view: Any, name: str) -> Any:
    """An attribute that the published API leaves optional: other trainers' objects need not have it."""
    return getattr(view, name, None)


def _is_finite_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
