"""Detectors of coefficients that are saturated, stuck or without effect; each alarm is raised once.

They look at a *window* of updates: relative errors e = (measured − target)/scale and logarithms of the coefficient, as
means and slopes with standard errors. The window is evaluated every ``saturation_patience`` updates and grows until it
is conclusive: a noisy batch raises nothing, and neither does an error that is decaying, or may be
(:mod:`~maxent_ray.core.diagnostics.steady_state`), for signals that respond within HORIZON times the patience. A new
window starts when contact with a bound begins or ends, when the signal responds, when the error is gone, and at the
horizon. A false alarm is worse than a late one.

- *saturated*: the coefficient is in contact with one bound, and the error that pushes it outwards is steady and larger
  than noise alone explains (:mod:`~maxent_ray.core.diagnostics.saturation`). At the horizon the mean error decides.
- *unreachable*: exact for weight signals, from the batch itself. D(τ, β) is convex, so H(w) rises with τ at any fixed β
  (dH/dτ = D_ττ ≥ 0: w is a softmax of one vector at temperature κ) and KL(w‖p) falls with β at any fixed τ
  (dKL/dβ = −D_ββ ≤ 0). The reachable range is what the two bounds give, at the *present* other coefficient: a block in
  which that one changed by more than a factor of 2, or brought the target nearer, is inconclusive. A policy signal has
  no such form; for it the alarm comes from saturation.
- *no response*: over the window the coefficient moved by a factor of 10 or more in the right direction, the error is
  steady, and the signal's slope is significantly below what a lag of one horizon passes of LEAST_ELASTICITY times the
  coefficient's: a ramp of slope a comes out of a first-order lag of T updates as a·t²/2T in the first t < T. Never
  raised where the target is known to be within reach: H(w) is flat far above it, and a coefficient that crosses a
  plateau is healthy.
- *stuck*: the coefficient's logarithm spread by less than LEAST_MOVE a patience, and the error is steady.
"""

from __future__ import annotations

import math
from dataclasses import replace

from maxent_ray.core.diagnostics import alarms
from maxent_ray.core.diagnostics.alarms import Actuator, Alarm
from maxent_ray.core.diagnostics.detector_state import DetectorState, Observation, add_reach, add_update, reset
from maxent_ray.core.diagnostics.saturation import is_beyond_bound, log
from maxent_ray.core.diagnostics.steady_state import is_decaying, is_off_zero, is_steady, is_turning
from maxent_ray.core.diagnostics.trend import SIGNIFICANCE, Trend
from maxent_ray.core.statistics import Reach

LEAST_ERROR = 0.02
"""Smaller relative errors count as on target."""
LEAST_GAP = 1e-3
"""A target closer than this to the reachable range (relative) counts as inside."""
LEAST_ELASTICITY = 0.1
"""Smallest d ln signal / d ln coefficient that counts as a response: half of β's on a policy's KL."""
LEAST_FACTOR = math.log(2)
"""Change of the other coefficient (logarithm) that makes a block of reachable ranges inconclusive."""
NO_RESPONSE_FACTOR = math.log(10)
"""Smallest move of a coefficient (logarithm) that must show a response."""
NO_RESPONSE_PATIENCE = 4
"""Smallest window of *no response*, in patiences: an oscillation looks steady around its turning point."""
LEAST_MOVE = 1e-3
"""Smallest spread of a coefficient's logarithm, per patience, that counts as a move."""
LEAST_BLOCK = 8
"""Smallest patience: standard errors of fewer updates mean little."""
DEAD_BAND_ERROR = 0.1
"""Largest relative error that a dead band may suppress without an alarm."""
HORIZON = 25
"""Slowest response that is waited for, in patiences."""
ON_TARGET = 4
"""Patiences after which a window without a significant error is dropped."""
LARGEST_LOG = 231.0
"""Logarithm of the largest coefficient there can be: a line fitted to noisy ones may end beyond."""
TIMES_LONGER = 10
"""Patiences within which a reachable range that drifts towards the target is left to get there."""


def apply_detectors(
    state: DetectorState, actuator: Actuator, observation: Observation
) -> tuple[DetectorState, tuple[Alarm, ...]]:
    """Apply all detectors to one update of a coefficient.

    Returns:
        The new state, and the alarms that were not raised before under these settings.
    """
    if state.fingerprint != actuator.fingerprint:
        state = DetectorState(fingerprint=actuator.fingerprint)
    patience = max(actuator.patience, LEAST_BLOCK)
    state = add_reach(add_update(state, actuator, observation, patience), observation)
    found: list[Alarm] = []
    if state.reach_gap.count >= patience:
        found += _unreachable(state, actuator, observation)
        state = replace(state, reach_gap=Trend())
    if state.errors.count % patience == 0:
        state, shown = _evaluate_window(state, actuator, observation, patience)
        found += shown
    new = tuple(alarm for alarm in found if alarm.kind.value not in state.raised)
    if new:
        raised = {**state.raised, **{alarm.kind.value: max(observation.step, 0) for alarm in new}}
        state = replace(state, raised=raised)
    return state, new


def _evaluate_window(
    state: DetectorState, actuator: Actuator, observation: Observation, patience: int
) -> tuple[DetectorState, list[Alarm]]:
    """Alarms that the window shows so far, and the state with the window to continue."""
    errors, horizon = state.errors, HORIZON * patience
    suppressed = state.in_dead_band == errors.count
    is_off = is_off_zero(errors, DEAD_BAND_ERROR if suppressed else LEAST_ERROR)
    responds = is_decaying(errors, horizon) or is_turning(errors, horizon)
    if responds or (not is_off and errors.count >= ON_TARGET * patience):
        return reset(state), []
    found: list[Alarm] = []
    steady = is_steady(errors, horizon)
    if is_off and (steady or errors.count >= horizon):
        if state.contact.side:
            found = _saturated(state, actuator, observation)
        else:
            found = _stuck(state, actuator, observation, patience)
            if steady and not found:
                found = _no_response(state, actuator, observation, patience)
    return (reset(state) if errors.count >= horizon else state), found


def _unreachable(state: DetectorState, actuator: Actuator, observation: Observation) -> list[Alarm]:
    gap, reach, target = state.reach_gap, observation.reach, observation.target
    other_moved = abs(log(observation.other) - state.other_log) > LEAST_FACTOR
    significant = is_off_zero(gap, LEAST_GAP) and not is_decaying(gap, TIMES_LONGER * gap.count)
    if reach is None or other_moved or gap.mean < 0 or not significant:
        return []
    above = target - reach.high > reach.low - target
    low = reach.low if above else target + gap.mean * observation.scale
    high = target - gap.mean * observation.scale if above else reach.high
    return [
        alarms.unreachable(
            actuator,
            updates=gap.count,
            target=target,
            reach=Reach(low, high),
            value=observation.value,
            other=observation.other,
            tied_share=observation.tied_share,
        )
    ]


def _saturated(state: DetectorState, actuator: Actuator, observation: Observation) -> list[Alarm]:
    errors, upper = state.errors, state.contact.side > 0
    bound = actuator.high if upper else actuator.low
    outwards = 1 if upper != actuator.raises_signal else -1
    if not is_beyond_bound(errors, state.log_values.mean, bound, outwards):
        return []
    return [
        alarms.saturated(
            actuator,
            upper=upper,
            updates=errors.count,
            measured=_signal_at(observation, errors.mean),
            target=observation.target,
            reach=observation.reach,
            value=observation.value,
            other=observation.other,
            tied_share=observation.tied_share,
        )
    ]


def _stuck(state: DetectorState, actuator: Actuator, observation: Observation, patience: int) -> list[Alarm]:
    values = state.log_values
    spread = math.sqrt(12 * values.squares / values.count)  # of a steady move: its length
    if spread >= LEAST_MOVE * values.count / patience:
        return []
    return [
        alarms.stuck(
            actuator,
            value=observation.value,
            updates=values.count,
            measured=_signal_at(observation, state.errors.mean),
            target=observation.target,
            in_dead_band=state.in_dead_band == values.count,
            other=observation.other,
            tied_share=observation.tied_share,
        )
    ]


def _no_response(state: DetectorState, actuator: Actuator, observation: Observation, patience: int) -> list[Alarm]:
    errors, values = state.errors, state.log_values
    within_reach = observation.reach is not None and observation.reach.contains(observation.target)
    if within_reach or errors.count < NO_RESPONSE_PATIENCE * patience:
        return []
    needed = -errors.mean if actuator.raises_signal else errors.mean
    moved = values.slope * (values.count - 1)
    if abs(moved) < NO_RESPONSE_FACTOR or moved * needed < 0:
        return []
    level = abs(_signal_at(observation, errors.mean)) / observation.scale
    least_response = LEAST_ELASTICITY * abs(moved) / (2 * HORIZON * patience) * level
    if abs(errors.slope) + SIGNIFICANCE * errors.slope_error >= least_response:
        return []
    half = (errors.count - 1) / 2
    before, after = (
        alarms.FittedPoint(
            math.exp(min(values.mean + at * values.slope, LARGEST_LOG)),
            _signal_at(observation, errors.mean + at * errors.slope),
        )
        for at in (-half, half)
    )
    return [
        alarms.no_response(
            actuator,
            before,
            after,
            noise=2 * half * errors.slope_error * observation.scale,
            target=observation.target,
            updates=errors.count,
            other=observation.other,
            tied_share=observation.tied_share,
        )
    ]


def _signal_at(observation: Observation, error: float) -> float:
    """The signal (nats) at a relative error."""
    return observation.target + error * observation.scale
