"""Bases of the settings of objectives and of truncated backprop's forms, and the parts that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from maxent_ray.core.objectives.interface import ControllerObjective
from maxent_ray.core.statistics import NO_SLOPE, WEIGHT_ENTROPIES, EntropySignal, KlSignal
from maxent_ray.errors import ConfigError


class Loops(NamedTuple):
    """The two loops of a controller, as objectives need to know them."""

    entropy_signal: EntropySignal
    kl_signal: KlSignal | None
    tau_rule: Any
    """Settings of τ's update rule; None: not set."""
    beta_rule: Any
    beta_bounds: tuple[float, float]
    reference_in_weights: bool = True
    """The weights depend on β too, so that β is a part of κ = τ + β."""


@dataclass(frozen=True, kw_only=True)
class Unroll:
    """Settings of an unroll of K policy steps.

    Example:
        >>> from maxent_ray.core.objectives import TruncatedBackprop
        >>> TruncatedBackprop(unroll=Unroll(steps=4, mode="auto")).unroll.steps
        4
    """

    steps: int = 1
    """K."""
    mode: Literal["reverse", "forward", "first_order", "auto"] = "reverse"
    """``reverse`` and ``forward`` are exact; ``first_order`` is exact for K = 1, and the one for large models: fused
    attention, bfloat16, no second-order graph. ``auto`` chooses by K, model size and free memory."""
    checkpoint: bool = False
    """``reverse`` only: keep each inner step's parameters, not its activations."""
    all_reduce: bool = False
    """Average the inner gradients over ranks, so that all of them unroll the whole batch; else their results are
    averaged over tokens."""
    groups: int = 8
    """Groups of a rank's batch that the unroll runs over, and as many others to measure on: at most half each."""

    def check(self) -> None:
        """Raise ConfigError for a value out of range."""
        for name, value in (("steps", self.steps), ("groups", self.groups)):
            if value < 1:
                raise ConfigError(f"objective.unroll.{name} is {value}; it must be >= 1")
        if self.mode not in ("reverse", "forward", "first_order", "auto"):
            raise ConfigError(f"objective.unroll.mode is {self.mode!r}; valid: reverse, forward, first_order, auto")
        if self.checkpoint and self.mode != "reverse":
            raise ConfigError(
                f"objective.unroll.checkpoint is true and objective.unroll.mode is {self.mode!r}; only 'reverse' keeps "
                "steps to checkpoint"
            )


@dataclass(frozen=True, kw_only=True)
class ObjectiveBase:
    """Base of the settings of an objective."""

    type: str

    @property
    def unroll(self) -> Unroll | None:
        """Unroll that workers do on update steps; None: none."""
        return None

    @property
    def label(self) -> str:
        """Name in rows and tables."""
        return self.type

    @property
    def steps_itself(self) -> bool:
        """True when its signals are steps of ln τ and ln β already, which no update rule changes."""
        return False

    @property
    def signals_are_relative(self) -> bool:
        """True when its signals are relative errors, which gains that are found out go by."""
        return True

    def check(self, loops: Loops) -> None:
        """Raise ConfigError for a value out of range, or one that does not fit the loops."""
        if self.unroll is None:
            return
        self.unroll.check()
        if loops.entropy_signal == "mode_entropy":
            remedy = f"choose the analytic objective, or set entropy_signal to {' or '.join(WEIGHT_ENTROPIES)}"
            raise ConfigError(f"objective is {self.label} and entropy_signal is mode_entropy, {NO_SLOPE}; {remedy}")

    def build(self, loops: Loops) -> ControllerObjective:
        """Build the objective."""
        raise NotImplementedError(f"{type(self).__name__} must define build()")

    def why_at_rest(self, coefficient: str, share: float, tied_share: float) -> str:
        """Explain a coefficient that has a signal and does not move; empty: its update rule knows.

        Args:
            coefficient: ``tau`` or ``beta``.
            share: β/κ; 0 where the weights do not depend on β.
            tied_share: Share of the groups whose rewards all tie.
        """
        return ""


@dataclass(frozen=True, kw_only=True)
class FormBase:
    """Base of the settings of a form of truncated backprop."""

    steps_itself: ClassVar[bool] = False
    """As of :class:`ObjectiveBase`."""
    signals_are_relative: ClassVar[bool] = True
    """As of :class:`ObjectiveBase`."""

    def check(self, loops: Loops, fallback: str | None) -> None:
        """Raise ConfigError for a value out of range, or one that does not fit the loops."""

    def build(self, loops: Loops, steps: int, fallback: Literal["analytic"] | None) -> ControllerObjective:
        """Build the objective."""
        raise NotImplementedError(f"{type(self).__name__} must define build()")

    def why_at_rest(self, coefficient: str, share: float, tied_share: float) -> str:
        """As of :class:`ObjectiveBase`."""
        return ""
