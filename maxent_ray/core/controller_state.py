"""What a controller knows (state), what workers train with (coefficients), and what it did and why (decision)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from maxent_ray.core.decoupling import Authority, Decoupling
from maxent_ray.core.kl_filter import KlFilter
from maxent_ray.core.meta_gradient import RunningSensitivity, SensitivityTrack
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.errors import InvalidReportError


class Reason(StrEnum):
    """Why a decision moved the coefficients, or did not."""

    UPDATED = "updated"
    CLIPPED = "clipped"
    DEAD_BAND = "dead_band"
    WARM_UP = "warm_up"
    INTERVAL = "interval"
    NO_GRADIENT = "no_gradient"
    NON_FINITE = "non_finite"
    INFEASIBLE_TARGET = "infeasible_target"
    STALE = "stale"


@dataclass(frozen=True)
class Coefficients:
    """What a worker trains one step with."""

    tau: float
    """Entropy temperature τ."""
    beta: float
    """KL coefficient β."""
    version: int
    """Rounds that were decided before these values; equal on all ranks of a step."""
    step: int
    """The training step these values are for."""


@dataclass(frozen=True)
class ControllerState:
    """Everything that must survive a restart or travel with a clone. No settings are in it."""

    tau: float
    beta: float
    version: int = 0
    """Rounds decided."""
    step: int = -1
    """The last step that was decided."""
    tau_rule: Mapping[str, float] = field(default_factory=dict)
    """Averages and moments of τ's update rule."""
    beta_rule: Mapping[str, float] = field(default_factory=dict)
    sensitivities: SensitivityTrack = SensitivityTrack()
    """What ``paired`` remembers."""
    decoupling: Decoupling = Decoupling()
    """What ``decoupled`` remembers."""
    window: BatchStatistics = BatchStatistics()
    """Statistics since the last update."""
    saturated: int = 0
    """Updates in a row that a bound held back."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """How often each reason was given."""

    def count(self, reason: Reason) -> ControllerState:
        """The same state with one more decision of ``reason`` on record."""
        return replace(self, reasons={**self.reasons, reason.value: self.reasons.get(reason.value, 0) + 1})

    def coefficients(self, step: int) -> Coefficients:
        """The coefficients that ``step`` trains with."""
        return Coefficients(self.tau, self.beta, self.version, step)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, ready for JSON; about a kilobyte."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ControllerState:
        """Inverse of :meth:`to_dict`.

        Raises:
            InvalidReportError: a key is unknown or missing, or a number that decisions rest on is not finite.
        """
        _require_keys("controller state", values, cls)
        _require_keys("controller state's sensitivities", values["sensitivities"], SensitivityTrack)
        for name, running in values["sensitivities"].items():
            _require_keys(f"controller state's sensitivities.{name}", running, RunningSensitivity)
        _require_keys("controller state's decoupling", values["decoupling"], Decoupling)
        _require_keys("controller state's decoupling.authority", values["decoupling"]["authority"], Authority)
        _require_keys("controller state's decoupling.kl", values["decoupling"]["kl"], KlFilter)
        _require_keys("controller state's window", values["window"], BatchStatistics)
        groups = {name: values[name] for name in ("tau_rule", "beta_rule", "window")}
        groups |= {f"sensitivities.{name}": running for name, running in values["sensitivities"].items()}
        groups |= {f"decoupling.{name}": values["decoupling"][name] for name in ("authority", "kl")}
        _require_count("decoupling.step", values["decoupling"]["step"], least=-1)
        _require_count("decoupling.authority.updates", values["decoupling"]["authority"]["updates"])
        _require_count("decoupling.kl.measurements", values["decoupling"]["kl"]["measurements"])
        for name in ("level_level", "velocity_velocity", "push_push", "noise"):
            _require_number(f"decoupling.kl.{name}", values["decoupling"]["kl"][name], "finite and >= 0", 0.0)
        for group, numbers in groups.items():
            for name, value in numbers.items():
                _require_number(f"{group}.{name}", value, "finite", -math.inf)
        for name in ("tau", "beta"):
            _require_number(name, values[name], "finite and >= 0", 0.0)
        nested = {
            "sensitivities": SensitivityTrack(
                **{name: RunningSensitivity(**running) for name, running in values["sensitivities"].items()}
            ),
            "decoupling": Decoupling(
                authority=Authority(**values["decoupling"]["authority"]),
                kl=KlFilter(**values["decoupling"]["kl"]),
                step=values["decoupling"]["step"],
            ),
            "window": BatchStatistics.from_dict(values["window"]),
        }
        return cls(**{**values, **nested})


def _require_keys(name: str, values: Mapping[str, Any], cls: type[Any]) -> None:
    known = {f.name for f in fields(cls)}
    if set(values) != known:
        wrong = sorted(set(values) ^ known)
        raise InvalidReportError(f"{name} has unknown or missing keys {wrong}; it needs {sorted(known)}")


def _require_count(name: str, value: object, least: int = 0) -> None:
    if not (isinstance(value, int) and value >= least):
        raise InvalidReportError(f"controller state's {name} is {value}; it must be a whole number >= {least}")


def _require_number(name: str, value: object, valid: str, least: float) -> None:
    if not (isinstance(value, int | float) and math.isfinite(value) and value >= least):
        raise InvalidReportError(f"controller state's {name} is {value}; it must be {valid}")


@dataclass(frozen=True)
class Decision:
    """One round: what was measured, what was wanted, what was done and why."""

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
    kl: float | None = None
    """Measured KL (nats, of the declared signal)."""
    target_kl: float | None = None
    tau_grad: float | None = None
    beta_grad: float | None = None
    source: str = ""
    """Objective that formed the gradients."""
    events: tuple[str, ...] = ()
    """What the update rules did on the way, such as ``tau.clipped`` or ``beta.projected_low``."""
    tied_share: float = 0.0
    """Share of the groups whose weights τ cannot move."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)
