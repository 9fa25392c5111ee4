"""State of a controller, the coefficients that workers train with, and its decisions with their reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

from maxent_ray.core.field_types import LastStep, Nested, NonNegative, Within
from maxent_ray.core.set_points import SetPoint
from maxent_ray.core.statistics import BatchStatistics, Reach
from maxent_ray.core.update_rules.base import Tuning
from maxent_ray.core.validation import read_dataclass, to_plain


class Reason(StrEnum):
    """Reason of a decision to move the coefficients, or not to.

    Example:
        >>> Reason("clipped") is Reason.CLIPPED
        True
    """

    UPDATED = "updated"
    CLIPPED = "clipped"
    DEAD_BAND = "dead_band"
    WARM_UP = "warm_up"
    INTERVAL = "interval"
    NO_GRADIENT = "no_gradient"
    NON_FINITE = "non_finite"
    INFEASIBLE_TARGET = "infeasible_target"


NestedMemory = Annotated[Mapping[str, Any], Nested(non_negative=("updates", "second_moment"))]
"""Memory of a rule or of an objective: finite numbers by name, nested at will."""


@dataclass(frozen=True)
class Coefficients:
    """Coefficients that a worker trains one step with.

    Example:
        >>> Coefficients(tau=0.3, beta=0.1, version=4, step=6).tau
        0.3
    """

    tau: NonNegative
    """Entropy temperature τ."""
    beta: NonNegative
    """KL coefficient β."""
    version: int
    """Rounds that were decided before these values; equal on all ranks of a step."""
    step: Annotated[int, Within(least=-2.0)]
    """The training step these values are for; negative in the outcomes that stand in for rounds before the first."""


@dataclass(frozen=True)
class ControllerState:
    """Everything that must survive a restart or travel with a clone. No settings are in it.

    Example:
        >>> from maxent_ray import Controller, ControllerConfig
        >>> state = Controller(ControllerConfig(group_size=8, target_entropy=1.9)).init()
        >>> ControllerState.from_dict(state.to_dict()) == state
        True
    """

    tau: NonNegative
    beta: NonNegative
    version: int = 0
    """Rounds decided."""
    step: LastStep = -1
    """The last step that was decided."""
    tau_rule: NestedMemory = field(default_factory=dict)
    """Averages and moments of τ's update rule, by the names of its parts."""
    beta_rule: NestedMemory = field(default_factory=dict)
    objective: Annotated[Mapping[str, Any], Nested()] = field(default_factory=dict)
    """Memory of the objective, under its name."""
    window: BatchStatistics = BatchStatistics()
    """Statistics since the last update."""
    entropy_set_point: SetPoint = SetPoint()
    """Way of H's set point to its target."""
    kl_set_point: SetPoint = SetPoint()
    """Way of KL's set point to its target."""

    def coefficients(self, step: int) -> Coefficients:
        """The coefficients that ``step`` trains with."""
        return Coefficients(self.tau, self.beta, self.version, step)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, ready for JSON; about one and a half kilobytes."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: object) -> ControllerState:
        """Inverse of :meth:`to_dict`.

        Raises:
            InvalidReportError: an entry is missing, unknown, of another type, or out of range; names it and its value.
        """
        return read_dataclass(cls, values, "controller state")


@dataclass(frozen=True)
class Decision:
    """One round: what was measured, what was wanted, what was done and why.

    Example:
        >>> moved = Decision(0, 1, Reason.UPDATED, tau=0.29, beta=0.1, previous_tau=0.3, previous_beta=0.1)
        >>> Decision.from_dict(moved.to_dict()) == moved
        True
    """

    step: int
    version: int
    """Version of the coefficients after this decision."""
    reason: Reason
    tau: float
    """τ after the decision."""
    beta: float
    """β after the decision."""
    previous_tau: float
    previous_beta: float
    entropy: float | None = None
    """Measured H (nats, of the declared signal)."""
    target_entropy: float | None = None
    entropy_set_point: float | None = None
    """Set point of H on its way to the target (nats)."""
    entropy_scale: float | None = None
    """Error of H that counts as 100 % (nats)."""
    kl: float | None = None
    """Measured KL (nats, of the declared signal)."""
    target_kl: float | None = None
    kl_set_point: float | None = None
    """Set point of KL on its way to the target (nats)."""
    tau_grad: float | None = None
    beta_grad: float | None = None
    source: str = ""
    """Objective that formed the gradients."""
    events: tuple[str, ...] = ()
    """Notes of the update rules, such as ``tau.clipped`` or ``beta.projected_low``; ``tau.not_measured``, where the
    batch had no group or token to measure a signal on; ``overflow.`` and the place of a number that is not finite;
    notes of the runtime."""
    tied_share: float = 0.0
    """Share of the groups whose weights τ cannot move."""
    entropy_reach: Reach | None = None
    """H between the bounds of τ, at the present β; None where it is not known."""
    kl_reach: Reach | None = None
    """KL between the bounds of β, at the present τ."""
    tau_tuning: Tuning | None = None
    """Gains in force and the response they follow from, where τ's rule finds them by itself (``response: auto``)."""
    beta_tuning: Tuning | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dict(vars(self))  # flat, and every value is immutable

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Decision:
        """Inverse of :meth:`to_dict`, also by way of JSON; nothing is checked."""
        reaches = {name: values[name] and Reach(*values[name]) for name in ("entropy_reach", "kl_reach")}
        tunings = {name: Tuning(*values[name]) for name in ("tau_tuning", "beta_tuning") if values.get(name)}
        named = {"reason": Reason(values["reason"]), "events": tuple(values["events"])}
        return cls(**{**values, **reaches, **tunings, **named})
