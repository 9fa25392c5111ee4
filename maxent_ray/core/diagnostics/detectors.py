"""Notices coefficients that stand at a bound, do not move, or move nothing; says each of these once.

What is looked at is a *window* of updates: relative errors e = (measured − target)/target and logarithms of the
coefficient, as means and slopes with standard errors. It is judged every ``saturation_patience`` updates and grows
until it shows something: a noisy batch says nothing, and neither does an error that is on its way out, or may be
(:mod:`~maxent_ray.core.diagnostics.steady_state`), for signals that answer within HORIZON times the patience. A window
begins anew when a bound begins or ceases to hold the coefficient, when the signal answers, when the error is gone, and
at the horizon. A false alarm is worse than a late one.

- *saturated*: it stands at one bound, and the error that pushes it out there rests, and is more than noise has thrown
  it off the bound for (:mod:`~maxent_ray.core.diagnostics.saturation`). At the horizon a window concludes on its mean
  error.
- *unreachable*: exact for weight signals, from the batch itself. D(τ, β) is convex, so H(w) rises with τ at any fixed β
  (dH/dτ = D_ττ ≥ 0: w is a softmax of one vector at temperature κ) and KL(w‖p) falls with β at any fixed τ
  (dKL/dβ = −D_ββ ≤ 0). What lies between the bounds is what the two bounds give, at the *present* other coefficient:
  a block in which it moved on by more than a factor of 2, or brought the target nearer, concludes nothing. A policy
  signal has no such form; for it the alarm comes from saturation.
- *no response*: over the window the coefficient moved by a factor of 10 or more the right way, the error rests, and the
  signal's slope is certainly below what a lag of one horizon lets through of LEAST_ELASTICITY times the coefficient's:
  a ramp of slope a comes out of a first-order lag of T updates as a·t²/2T in the first t < T. Where the target is known
  to be within reach, never: H(w) is flat far above it, and a coefficient on its way through a plateau is healthy.
- *stuck*: the coefficient's logarithm spread by less than LEAST_MOVE a patience, and the error rests.
"""

from __future__ import annotations

import math
from dataclasses import replace

from maxent_ray.core.diagnostics import alarms
from maxent_ray.core.diagnostics.alarms import Actuator, Alarm
from maxent_ray.core.diagnostics.detector_state import Sighting, Watch, anew, with_reach, with_update
from maxent_ray.core.diagnostics.saturation import is_beyond, log
from maxent_ray.core.diagnostics.steady_state import goes_away, is_off_zero, rests, turns
from maxent_ray.core.diagnostics.trend import SURE, Trend
from maxent_ray.core.statistics import Reach

LEAST_ERROR = 0.02
"""Relative errors below are on target."""
LEAST_OUTSIDE = 1e-3
"""A target less far outside what is reachable (relative) is as good as inside."""
LEAST_ELASTICITY = 0.1
"""d ln signal / d ln coefficient that counts as an answer: half of what β is worth to a policy's KL."""
LEAST_FACTOR = math.log(2)
UNANSWERED_FACTOR = math.log(10)
"""How far a coefficient must have gone without an answer."""
UNANSWERED_PATIENCE = 4
"""For how many times the patience: what swings has a turning point, around which it seems to rest."""
LEAST_MOVE = 1e-3
LEAST_BLOCK = 8
"""Updates that standard errors need to mean anything, whatever the patience."""
DEAD_BAND_ERROR = 0.1
"""A dead band is meant to leave errors alone; larger ones than this it should not."""
HORIZON = 25
"""Signals that take up to so many times the patience to answer are waited for."""
ON_TARGET = 4
"""A window of so many times the patience whose error is not certainly off zero has nothing to tell."""
LARGEST_LOG = 231.0
"""Logarithm of the largest coefficient there can be: a line fitted to noisy ones may end beyond."""
TIMES_LONGER = 10
"""A reach that at its trend has the target within so many times the patience is left to it."""


def watch(memory: Watch, actuator: Actuator, seen: Sighting) -> tuple[Watch, tuple[Alarm, ...]]:
    """Take one update in.

    Returns:
        The new memory, and alarms that were not given before under these settings.
    """
    if memory.settings != actuator.fingerprint:
        memory = Watch(settings=actuator.fingerprint)
    patience = max(actuator.patience, LEAST_BLOCK)
    memory = with_reach(with_update(memory, actuator, seen, patience), seen)
    found: list[Alarm] = []
    if memory.outside.count >= patience:
        found += _unreachable(memory, actuator, seen)
        memory = replace(memory, outside=Trend())
    if memory.errors.count % patience == 0:
        memory, shown = _judge(memory, actuator, seen, patience)
        found += shown
    new = tuple(alarm for alarm in found if alarm.kind.value not in memory.said)
    if new:
        said = {**memory.said, **{alarm.kind.value: max(seen.step, 0) for alarm in new}}
        memory = replace(memory, said=said)
    return memory, new


def _judge(memory: Watch, actuator: Actuator, seen: Sighting, patience: int) -> tuple[Watch, list[Alarm]]:
    """What the window shows so far, and the window to go on with."""
    errors, horizon = memory.errors, HORIZON * patience
    swallowed = memory.in_dead_band == errors.count
    is_off = is_off_zero(errors, DEAD_BAND_ERROR if swallowed else LEAST_ERROR)
    answers = goes_away(errors, horizon) or turns(errors, horizon)
    if answers or (not is_off and errors.count >= ON_TARGET * patience):
        return anew(memory), []
    found: list[Alarm] = []
    is_at_rest = rests(errors, horizon)
    if is_off and (is_at_rest or errors.count >= horizon):
        if memory.standing.side:
            found = _saturated(memory, actuator, seen)
        else:
            found = _stuck(memory, actuator, seen, patience)
            if is_at_rest and not found:
                found = _no_response(memory, actuator, seen, patience)
    return (anew(memory) if errors.count >= horizon else memory), found


def _unreachable(memory: Watch, actuator: Actuator, seen: Sighting) -> list[Alarm]:
    outside = memory.outside
    moved_on = abs(log(seen.other) - memory.other_log) > LEAST_FACTOR
    certain = is_off_zero(outside, LEAST_OUTSIDE) and not goes_away(outside, TIMES_LONGER * outside.count)
    if seen.reach is None or moved_on or outside.mean < 0 or not certain:
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
    errors, upper = memory.errors, memory.standing.side > 0
    bound = actuator.high if upper else actuator.low
    outwards = 1 if upper != actuator.raises_signal else -1
    if not is_beyond(errors, memory.logs.mean, bound, outwards):
        return []
    return [
        alarms.saturated(
            actuator,
            upper=upper,
            updates=errors.count,
            measured=seen.target * (1 + errors.mean),
            target=seen.target,
            reach=seen.reach,
            value=seen.after,
            other=seen.other,
            tied_share=seen.tied_share,
        )
    ]


def _stuck(memory: Watch, actuator: Actuator, seen: Sighting, patience: int) -> list[Alarm]:
    logs = memory.logs
    spread = math.sqrt(12 * logs.squares / logs.count)  # of a steady move: how far it went
    if spread >= LEAST_MOVE * logs.count / patience:
        return []
    return [
        alarms.stuck(
            actuator,
            value=seen.after,
            updates=logs.count,
            measured=seen.target * (1 + memory.errors.mean),
            target=seen.target,
            in_dead_band=memory.in_dead_band == logs.count,
            other=seen.other,
            tied_share=seen.tied_share,
        )
    ]


def _no_response(memory: Watch, actuator: Actuator, seen: Sighting, patience: int) -> list[Alarm]:
    errors, logs = memory.errors, memory.logs
    within_reach = seen.reach is not None and seen.reach.contains(seen.target)
    if within_reach or errors.count < UNANSWERED_PATIENCE * patience:
        return []
    needed = -errors.mean if actuator.raises_signal else errors.mean
    moved = logs.slope * (logs.count - 1)
    answer = LEAST_ELASTICITY * abs(moved) / (2 * HORIZON * patience) * abs(1 + errors.mean)
    if abs(moved) < UNANSWERED_FACTOR or moved * needed < 0:
        return []
    if abs(errors.slope) + SURE * errors.slope_error >= answer:
        return []
    half = (errors.count - 1) / 2
    before, after = (
        alarms.Ends(
            math.exp(min(logs.mean + at * logs.slope, LARGEST_LOG)),
            seen.target * (1 + errors.mean + at * errors.slope),
        )
        for at in (-half, half)
    )
    return [
        alarms.no_response(
            actuator,
            before,
            after,
            noise=2 * half * errors.slope_error * seen.target,
            target=seen.target,
            updates=errors.count,
            other=seen.other,
            tied_share=seen.tied_share,
        )
    ]
