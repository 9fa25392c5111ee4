"""Notices coefficients that stand at a bound, do not move, or move nothing; says each of these once.

All of it is decided on means over ``saturation_patience`` updates of the relative error e = (measured − target)/target,
with standard errors, so that a noisy batch says nothing; an error that certainly goes to zero by itself says nothing
either. A false alarm is worse than a late one.

- *saturated*: pushed outwards at one bound all that time, e off zero.
- *unreachable*: exact for weight signals, from the batch itself. D(τ, β) is convex, so H(w) rises with τ at any fixed β
  (dH/dτ = D_ττ ≥ 0: w is a softmax of one vector at temperature κ) and KL(w‖p) falls with β at any fixed τ
  (dKL/dβ = −D_ββ ≤ 0). What lies between the bounds is what the two bounds give, at the *present* other coefficient:
  a block in which it moved on by more than a factor of 2, or brought the target nearer, concludes nothing. A policy
  signal has no such form; for it the alarm comes from saturation.
- *no response*: from an earlier block of updates to this one the coefficient moved by a factor of 10 or more the right
  way, e is off zero in both, and even with 3 standard errors added the signal's relative change is below
  LEAST_ELASTICITY of the coefficient's (in logarithms). Where the target is known to be within reach, never: H(w) is
  flat far above it, and a coefficient on its way through a plateau is healthy.
- *stuck*: the coefficient's logarithm changed by less than LEAST_MOVE over the block, e off zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, NamedTuple

from maxent_ray.core import alarms
from maxent_ray.core.alarms import Actuator, Alarm, AlarmKind, Reach
from maxent_ray.core.field_kinds import Entries, LogOfFloat, NonNegative, Within
from maxent_ray.core.trend import SURE, Trend

LEAST_ERROR = 0.02
"""Relative errors below are on target."""
LEAST_OUTSIDE = 1e-3
"""A target less far outside what is reachable (relative) is as good as inside."""
LEAST_ELASTICITY = 0.05
"""d ln signal / d ln coefficient that counts as an answer: a quarter of what β is worth to a policy's KL."""
LEAST_FACTOR = math.log(2)
UNANSWERED_FACTOR = math.log(10)
"""How far a coefficient must have gone without an answer: signals that take a hundred steps to answer are healthy."""
LEAST_MOVE = 1e-3
LEAST_BLOCK = 8
"""Updates that standard errors need to mean anything, whatever the patience."""
DEAD_BAND_ERROR = 0.1
"""A dead band is meant to leave errors alone; larger ones than this it should not."""
TIMES_LONGER = 10
"""An error that at its trend is gone within so many times the patience is left to it."""
SMALLEST = 1e-300
"""β may be 0 in linear space; its logarithm is taken of this then."""


class Sighting(NamedTuple):
    """One update of one coefficient."""

    step: int
    before: float
    after: float
    pushed: int
    """−1 when its lower bound held it back, 1 when its upper one did, else 0."""
    in_dead_band: bool
    measured: float
    target: float
    reach: Reach | None
    """None: not known, as for policy signals."""
    other: float
    tied_share: float


@dataclass(frozen=True)
class Block:
    """An earlier block of updates, to compare with."""

    updates: int = 0
    """0: there is none."""
    error: float = 0.0
    variance: NonNegative = 0.0
    """Of the mean error."""
    log_value: LogOfFloat = 0.0


@dataclass(frozen=True)
class Watch:
    """What is remembered of one coefficient; part of the controller's state."""

    settings: int = 0
    """Fingerprint of the settings that all of it is about."""
    errors: Trend = Trend()
    """Relative errors of this block; a block begins anew when a bound begins or ceases to hold the coefficient."""
    pushed: Annotated[int, Within(-1, 1)] = 0
    """The bound that held it back all through the block."""
    first_log: LogOfFloat = 0.0
    """Logarithm of the coefficient before the block."""
    log_value: LogOfFloat = 0.0
    """Mean logarithm over the block."""
    in_dead_band: int = 0
    """Updates of the block that the dead band swallowed."""
    outside: Trend = Trend()
    """How far the target is outside what is reachable (relative; negative: inside)."""
    other_log: LogOfFloat = 0.0
    """Logarithm of the other coefficient when that began."""
    earlier: Block = Block()
    said: Annotated[Mapping[str, int], Entries(names=tuple(AlarmKind))] = field(default_factory=dict)
    """Alarms that were given → step."""


def watch(memory: Watch, actuator: Actuator, seen: Sighting) -> tuple[Watch, tuple[Alarm, ...]]:
    """Take one update in.

    Returns:
        The new memory, and alarms that were not given before under these settings.
    """
    if memory.settings != actuator.fingerprint:
        memory = Watch(settings=actuator.fingerprint)
    memory = _outside(_block(memory, seen), seen)
    patience = max(actuator.patience, LEAST_BLOCK)
    found: list[Alarm] = []
    if memory.outside.count >= patience:
        found += _unreachable(memory, actuator, seen)
        memory = replace(memory, outside=Trend())
    if memory.errors.count >= patience:
        found += _saturated(memory, actuator, seen) if memory.pushed else _without_effect(memory, actuator, seen)
        memory = _next_block(memory)
    new = tuple(alarm for alarm in found if alarm.kind.value not in memory.said)
    said = {**memory.said, **{alarm.kind.value: max(seen.step, 0) for alarm in new}}
    return replace(memory, said=said), new


def _block(memory: Watch, seen: Sighting) -> Watch:
    """The block with one more update, or a new one."""
    if memory.pushed != seen.pushed:
        memory = replace(memory, errors=Trend(), pushed=seen.pushed)
    if memory.errors.count == 0:
        memory = replace(memory, first_log=_log(seen.before), log_value=0.0, in_dead_band=0)
    errors = memory.errors.add(seen.measured / seen.target - 1)
    log_value = memory.log_value + (_log(seen.after) - memory.log_value) / errors.count
    dead = memory.in_dead_band + seen.in_dead_band
    return replace(memory, errors=errors, log_value=log_value, in_dead_band=dead)


def _outside(memory: Watch, seen: Sighting) -> Watch:
    """What the batch says of the reachable."""
    if seen.reach is None:
        return replace(memory, outside=Trend())
    if memory.outside.count == 0:
        memory = replace(memory, other_log=_log(seen.other))
    outside = max(seen.target - seen.reach.high, seen.reach.low - seen.target) / seen.target
    return replace(memory, outside=memory.outside.add(outside))


def _unreachable(memory: Watch, actuator: Actuator, seen: Sighting) -> list[Alarm]:
    outside = memory.outside
    moved_on = abs(_log(seen.other) - memory.other_log) > LEAST_FACTOR
    if seen.reach is None or moved_on or outside.mean < 0 or not _is_off_target(outside, LEAST_OUTSIDE):
        return []
    mean_end = outside.mean * seen.target
    above = seen.target - seen.reach.high > seen.reach.low - seen.target
    low = seen.reach.low if above else seen.target + mean_end
    high = seen.target - mean_end if above else seen.reach.high
    return [
        alarms.unreachable(
            actuator,
            updates=outside.count,
            target=seen.target,
            reach=Reach(low, high),
            value=seen.after,
            other=seen.other,
            tied_share=seen.tied_share,
        )
    ]


def _saturated(memory: Watch, actuator: Actuator, seen: Sighting) -> list[Alarm]:
    if actuator.low == actuator.high:
        return _stuck(memory, actuator, seen)
    if not _is_off_target(memory.errors):
        return []
    return [
        alarms.saturated(
            actuator,
            upper=memory.pushed > 0,
            updates=memory.errors.count,
            measured=seen.target * (1 + memory.errors.mean),
            target=seen.target,
            reach=seen.reach,
            value=seen.after,
            other=seen.other,
            tied_share=seen.tied_share,
        )
    ]


def _without_effect(memory: Watch, actuator: Actuator, seen: Sighting) -> list[Alarm]:
    return _stuck(memory, actuator, seen) or _no_response(memory, actuator, seen)


def _stuck(memory: Watch, actuator: Actuator, seen: Sighting) -> list[Alarm]:
    constant = abs(_log(seen.after) - memory.first_log) < LEAST_MOVE
    in_dead_band = memory.in_dead_band == memory.errors.count
    least = DEAD_BAND_ERROR if in_dead_band else LEAST_ERROR
    if not (constant and _is_off_target(memory.errors, least)):
        return []
    return [
        alarms.stuck(
            actuator,
            value=seen.after,
            updates=memory.errors.count,
            measured=seen.target * (1 + memory.errors.mean),
            target=seen.target,
            in_dead_band=in_dead_band,
        )
    ]


def _no_response(memory: Watch, actuator: Actuator, seen: Sighting) -> list[Alarm]:
    now, earlier = memory.errors, memory.earlier
    within_reach = seen.reach is not None and seen.reach.low <= seen.target <= seen.reach.high
    if within_reach or not (_same_side(now, earlier) and _is_off_target(now)):
        return []
    moved = memory.log_value - earlier.log_value
    needed = -now.mean if actuator.raises_signal else now.mean
    change, noise = _change(now, earlier)
    answered = abs(change) + SURE * noise >= LEAST_ELASTICITY * abs(moved)
    if abs(moved) < UNANSWERED_FACTOR or moved * needed < 0 or answered:
        return []
    signals = [seen.target * (1 + error) for error in (earlier.error, now.mean)]
    return [
        alarms.no_response(
            actuator,
            alarms.Means(math.exp(earlier.log_value), signals[0]),
            alarms.Means(math.exp(memory.log_value), signals[1]),
            noise=noise * abs(signals[1]),
            target=seen.target,
            updates=now.count,
            other=seen.other,
            tied_share=seen.tied_share,
        )
    ]


def _next_block(memory: Watch) -> Watch:
    """Begin a block. The one to compare with stays until the error is gone, changes its sign or has answered."""
    now, earlier = memory.errors, memory.earlier
    if not _is_off_target(now):
        earlier = Block()
    else:
        change, noise = _change(now, earlier)
        has_answered = abs(change) - SURE * noise > LEAST_ERROR
        if not _same_side(now, earlier) or has_answered:
            earlier = Block(now.count, now.mean, now.variance_of_mean, memory.log_value)
    return replace(memory, errors=Trend(), earlier=earlier)


def _change(now: Trend, earlier: Block) -> tuple[float, float]:
    """Relative change of the signal since the earlier block, and its standard error."""
    size = max(abs(1 + now.mean), abs(1 + earlier.error), LEAST_ERROR)
    return (now.mean - earlier.error) / size, math.sqrt(now.variance_of_mean + earlier.variance) / size


def _same_side(now: Trend, earlier: Block) -> bool:
    return earlier.updates > 0 and now.mean * earlier.error > 0


def _is_off_target(errors: Trend, least: float = LEAST_ERROR) -> bool:
    """Certainly off zero, by more than nothing, and not on the way there."""
    stays = not errors.reaches_zero_within(TIMES_LONGER * errors.count)
    return abs(errors.mean) > least and errors.is_off_zero and stays


def _log(value: float) -> float:
    return math.log(max(value, SMALLEST))
