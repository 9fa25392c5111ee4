"""Truncated backprop: derivatives of the meta-loss through K policy steps.

M = ½ e_H² + ½ e_KL² with the relative errors e_H = (H_K − H*)/h and e_KL = (KL_K − KL*)/KL* after K policy steps. h is
the controller's ``entropy_scale``: H* itself, or another number of nats where H* may be 0 or negative.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, ClassVar, Literal

from maxent_ray.core.objectives.analytic import AnalyticControllerObjective
from maxent_ray.core.objectives.interface import ControllerGradients, ControllerMetaContext, ControllerObjective, Memory
from maxent_ray.core.objectives.sensitivity import Sensitivity
from maxent_ray.core.validation import read_dataclass, to_plain
from maxent_ray.errors import ConfigError


class TruncatedBackpropControllerObjective(ControllerObjective):
    """Derivatives through K policy steps, obtained by calling ``backprop_fn(K)``.

    Args:
        steps: K ≥ 1.
        fallback: Reaction to a missing or unusable callback result: ``"analytic"`` returns the analytic gradients
            labelled as such (one warning an objective, counted in ``fallbacks``), None returns no update.

    Raises:
        ConfigError: ``steps`` < 1, or an unknown ``fallback``.

    Example:
        >>> context = ControllerMetaContext(None, None, None, global_step=0)
        >>> context.backprop_fn = lambda steps: ControllerGradients(tau_grad=0.1 * steps)
        >>> TruncatedBackpropControllerObjective(steps=2, fallback=None).compute(context).tau_grad
        0.2
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
        """Return the callback's gradients, else what ``fallback`` asks for."""
        return self._usable(self._unrolled(meta_ctx), meta_ctx)

    def _unrolled(self, meta_ctx: ControllerMetaContext) -> ControllerGradients | None:
        return meta_ctx.backprop_fn(self.steps) if meta_ctx.backprop_fn is not None else None

    def _usable(self, found: ControllerGradients | None, meta_ctx: ControllerMetaContext) -> ControllerGradients | None:
        if found is not None and found.has_updates():
            return found
        if self.fallback is None:
            return None
        self.fallbacks += 1
        if self.fallbacks == 1:
            warnings.warn(
                f"step {meta_ctx.global_step}: no usable truncated-backprop gradients; using analytic gradients, "
                "labelled as such (pass fallback=None to skip the update instead)",
                RuntimeWarning,
                stacklevel=3,
            )
        return AnalyticControllerObjective().compute(meta_ctx)


class SensitivityObjective(TruncatedBackpropControllerObjective):
    """Base of the forms: from the sensitivities of an unroll of K steps to the two signals.

    Gradients that a worker has formed itself, without sensitivities, pass unchanged.
    """

    memory_type: ClassVar[type[Any] | None] = None
    """Dataclass of the form's memory; None: it has none."""

    def init(self) -> Memory:
        """The memory before the first update."""
        return {} if self.memory_type is None else to_plain(self.memory_type())

    def restore(self, memory: Memory) -> Memory:
        """Check a memory that comes from a checkpoint.

        Raises:
            InvalidReportError: an entry is missing, unknown or out of range.
        """
        if self.memory_type is None:
            return {}
        return to_plain(read_dataclass(self.memory_type, memory, f"state.objective.{self.name}"))

    def compute(self, meta_ctx: ControllerMetaContext) -> ControllerGradients | None:
        """Form the signals of one update, without memory of earlier ones."""
        return self.update(meta_ctx, self.init())[0]

    def update(self, meta_ctx: ControllerMetaContext, memory: Memory) -> tuple[ControllerGradients | None, Memory]:
        """Form the two signals, and the memory that the next update is given."""
        found = self._unrolled(meta_ctx)
        if found is not None and found.sensitivity is not None:
            sensitivity = found.sensitivity
            formed, memory = self.form(sensitivity, meta_ctx, memory)
            found = replace(formed, source="truncated_backprop", sensitivity=sensitivity)
        return self._usable(found, meta_ctx), memory

    def lacks_entropy(self, meta_ctx: ControllerMetaContext) -> bool:
        """True where H has a target and this batch nothing to measure it on: the unroll's H is of no group either."""
        has_target = meta_ctx.weighting.tau_target_entropy is not None
        return has_target and meta_ctx.weight_stats is not None and meta_ctx.entropy_value() is None

    def form(
        self, sensitivity: Sensitivity, meta_ctx: ControllerMetaContext, memory: Memory
    ) -> tuple[ControllerGradients, Memory]:
        """Form the signals from one round's merged sensitivities."""
        raise NotImplementedError(f"{type(self).__name__} must define form()")
