"""Alarms on coefficients without effect: the coefficient, the updates it lasted, the figures, what to change."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from maxent_ray.core.statistics import Reach

TARGET_ENTROPY, TARGET_KL = "target_entropy (or target_entropy_fraction)", "target_kl"
"""Names of the settings that targets come from."""


class AlarmKind(StrEnum):
    """Ways in which a coefficient has no effect, or nothing to work on."""

    SATURATED = "saturated"
    UNREACHABLE = "unreachable"
    NO_RESPONSE = "no_response"
    STUCK = "stuck"
    UNINFORMATIVE = "uninformative"


@dataclass(frozen=True)
class Alarm:
    """One warning about one coefficient."""

    kind: AlarmKind
    coefficient: str
    """``tau`` or ``beta``."""
    message: str
    figures: Mapping[str, float] = field(default_factory=dict)
    """The numbers in the message, by name."""


class Actuator(NamedTuple):
    """A coefficient, the signal that it controls, and their settings."""

    name: str
    """``tau`` or ``beta``."""
    signal: str | None
    """The declared signal that it holds on target; None: there is none, and the coefficient is fixed."""
    low: float
    high: float
    """Its bounds."""
    targets: tuple[float | None, ...]
    """The target, and the value that it anneals to (nats)."""
    patience: int
    """Updates that a condition must last before an alarm is raised."""
    why_at_rest: Callable[[float, float, bool], str]
    """β/κ, share of tied groups, inside the dead band → likely cause when it does not move."""
    reference_in_weights: bool = True
    """The weights depend on β too, so that β is a part of κ = τ + β."""

    def share_of_kappa(self, part: float, rest: float) -> float:
        """Share of one coefficient in κ = τ + β; 0 where the weights do not depend on β, so that it hides nothing."""
        return part / (part + rest) if self.reference_in_weights else 0.0

    @property
    def target_name(self) -> str:
        """Name of the setting that the target comes from."""
        return TARGET_ENTROPY if self.name == "tau" else TARGET_KL

    @property
    def symbol(self) -> str:
        """τ or β."""
        return "τ" if self.name == "tau" else "β"

    @property
    def other(self) -> str:
        """The symbol of the other coefficient."""
        return "β" if self.name == "tau" else "τ"

    @property
    def raises_signal(self) -> bool:
        """True for τ, which raises the entropy; β lowers the KL."""
        return self.name == "tau"

    @property
    def counts_tied_groups(self) -> bool:
        """True for τ, unless its signal leaves out the groups whose rewards all tie."""
        return self.name == "tau" and self.signal != "informative_weight_entropy"

    @property
    def fingerprint(self) -> int:
        """Checksum of the settings behind an alarm; after a change of it alarms may be raised again."""
        return _checksum((self.signal, self.low, self.high, self.targets, self.patience))


def saturated(
    actuator: Actuator,
    *,
    upper: bool,
    updates: int,
    measured: float,
    target: float,
    reach: Reach | None,
    value: float,
    other: float,
    tied_share: float,
) -> Alarm:
    """Alarm: the coefficient is at a bound, and the error pushes it outwards."""
    name, bound = (f"{actuator.name}_max", actuator.high) if upper else (f"{actuator.name}_min", actuator.low)
    if actuator.signal == "policy_kl" and not upper:
        cause = "the policy keeps nearer to the reference than that even without a penalty: it learns too slowly for it"
    elif reach is None or reach.low <= target <= reach.high:
        cause = f"the bound is too tight, or {actuator.symbol} cannot bring a {actuator.signal} there at all"
    else:
        why = _why_out_of_reach(actuator, name, target > reach.high, value, other, tied_share)
        cause = f"{actuator.symbol} reaches {reach.low:.4g} to {reach.high:.4g} nats on this batch; {why}"
    message = (
        f"{actuator.symbol} has been at its {'upper' if upper else 'lower'} bound ({name} = {bound:.4g}) for {updates} "
        f"updates and is pushed outwards still: {actuator.signal} is {measured:.4g} nats, the target {target:.4g}. "
        f"Likely cause: {cause}. {_widen(name, upper)} {actuator.target_name}."
    )
    figures = {"bound": bound, "updates": float(updates), "measured": measured, "target": target}
    return Alarm(AlarmKind.SATURATED, actuator.name, message, figures)


def unreachable(
    actuator: Actuator, *, updates: int, target: float, reach: Reach, value: float, other: float, tied_share: float
) -> Alarm:
    """Alarm: no value between the bounds gives the target on these batches."""
    above = target > reach.high
    needs_more = above == actuator.raises_signal
    name = f"{actuator.name}_{'max' if needs_more else 'min'}"
    cause = _why_out_of_reach(actuator, name, above, value, other, tied_share)
    end, side = (reach.high, "above") if above else (reach.low, "below")
    message = (
        f"{actuator.target_name} asks for {target:.4g} nats, {side} what any {actuator.symbol} from "
        f"{actuator.low:.4g} to {actuator.high:.4g} gives: {actuator.signal} is {end:.4g} at {name} (mean of {updates} "
        f"updates, {actuator.other} = {other:.4g}). Likely cause: {cause}. "
        f"{_widen(name, needs_more)} {actuator.target_name}."
    )
    figures = {"target": target, "low": reach.low, "high": reach.high, "updates": float(updates)}
    return Alarm(AlarmKind.UNREACHABLE, actuator.name, message, {**figures, "tied_share": tied_share})


class FittedPoint(NamedTuple):
    """First or last point of the lines fitted to a window."""

    value: float
    """The coefficient, from a line through its logarithms."""
    signal: float


def no_response(
    actuator: Actuator,
    before: FittedPoint,
    after: FittedPoint,
    *,
    noise: float,
    target: float,
    updates: int,
    other: float,
    tied_share: float,
) -> Alarm:
    """Alarm: the coefficient moved far, and the signal did not respond."""
    share = actuator.share_of_kappa(other, after.value)
    if actuator.counts_tied_groups and tied_share >= 0.5:
        cause = f"in {tied_share:.0%} of the groups all rewards tie, and τ cannot move their weights"
    elif actuator.name == "tau" and share > 2 / 3:
        cause = f"β makes {share:.0%} of κ = τ + β and hides τ; lower beta_max or raise {TARGET_KL}"
    elif actuator.name == "tau":
        cause = f"{actuator.signal} does not depend on τ here; track weight_entropy, or learn at a higher rate"
    else:
        cause = "the policy hardly learns, or the penalty is small beside what rewards push; look at its learning rate"
    message = (
        f"{actuator.symbol} went from {before.value:.4g} to {after.value:.4g} and {actuator.signal} from "
        f"{before.signal:.4g} to {after.signal:.4g} nats (lines through {updates} updates, standard error "
        f"{noise:.2g}); the target is {target:.4g}. Likely cause: {cause}."
    )
    figures = {"value_before": before.value, "value_after": after.value, "signal_before": before.signal}
    return Alarm(
        AlarmKind.NO_RESPONSE,
        actuator.name,
        message,
        {**figures, "signal_after": after.signal, "noise": noise, "target": target, "tied_share": tied_share},
    )


def stuck(
    actuator: Actuator,
    *,
    value: float,
    updates: int,
    measured: float,
    target: float,
    in_dead_band: bool,
    other: float,
    tied_share: float,
) -> Alarm:
    """Alarm: the coefficient has a gradient and does not move."""
    if actuator.low == actuator.high:
        cause = f"{actuator.name}_min and {actuator.name}_max are equal; set them apart"
    else:
        cause = actuator.why_at_rest(actuator.share_of_kappa(value, other), tied_share, in_dead_band)
    message = (
        f"{actuator.symbol} has stayed at {value:.4g} for {updates} updates with a gradient to follow: "
        f"{actuator.signal} is {measured:.4g} nats, the target {target:.4g}. Likely cause: {cause}."
    )
    figures = {"value": value, "updates": float(updates), "measured": measured, "target": target}
    return Alarm(AlarmKind.STUCK, actuator.name, message, figures)


def uninformative(*, updates: int, informative_share: float) -> Alarm:
    """Alarm: hardly any group has rewards that differ, so training has little to learn, and τ little to move."""
    message = (
        f"rewards differ in {informative_share:.1%} of the groups (mean of {updates} updates): the others teach the "
        "policy nothing, and τ cannot move their weights. Likely cause: the policy solves nearly all prompts, or "
        "nearly none. Take harder prompts (easier ones if rewards are low), raise group_size, or stop."
    )
    figures = {"informative_share": informative_share, "updates": float(updates)}
    return Alarm(AlarmKind.UNINFORMATIVE, "tau", message, figures)


@lru_cache(maxsize=64)
def _checksum(settings: tuple[object, ...]) -> int:
    return zlib.crc32(repr(settings).encode())


def _why_out_of_reach(
    actuator: Actuator, bound: str, above: bool, value: float, other: float, tied_share: float
) -> str:
    share = actuator.share_of_kappa(other, value)
    if actuator.counts_tied_groups and not above and tied_share >= 0.5:
        return f"in {tied_share:.0%} of the groups all rewards tie, and τ cannot move their weights"
    if actuator.name == "tau" and share > 2 / 3:
        return f"β makes {share:.0%} of κ = τ + β, so the reference decides the weights"
    return f"the target does not fit q and the reference, or {bound} is too tight"


def _widen(bound: str, upper: bool) -> str:
    return f"{'Raise' if upper else 'Lower'} {bound}, or change"
