"""Detector state of one coefficient: a window of its updates, its contact with a bound, and the alarms raised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, NamedTuple

from maxent_ray.core.diagnostics.alarms import Actuator, AlarmKind
from maxent_ray.core.diagnostics.saturation import BoundContact, log, update_contact
from maxent_ray.core.diagnostics.trend import Trend
from maxent_ray.core.field_types import Keys, LogOfFloat
from maxent_ray.core.relative_errors import relative_error
from maxent_ray.core.statistics import Reach


class Observation(NamedTuple):
    """One update of one coefficient."""

    step: int
    value: float
    """The coefficient after the update."""
    clipped_at: int
    """Bound that clipped the update: −1 the lower, 1 the upper, 0 none."""
    in_dead_band: bool
    measured: float
    """The signal (nats)."""
    target: float
    scale: float
    """Error that counts as 100 % (nats)."""
    reach: Reach | None
    """None: not known, as for policy signals."""
    other: float
    """The other coefficient after the update."""
    tied_share: float


@dataclass(frozen=True)
class DetectorState:
    """Memory of the detectors of one coefficient."""

    fingerprint: int = 0
    """Fingerprint of the settings that the rest belongs to."""
    errors: Trend = Trend()
    """Relative errors in the window."""
    log_values: Trend = Trend()
    """Logarithms of the coefficient after its updates."""
    in_dead_band: int = 0
    """Updates in the window that the dead band suppressed."""
    contact: BoundContact = BoundContact()
    reach_gap: Trend = Trend()
    """Distance of the target from the reachable range, in scales of the error; negative inside the range."""
    other_log: LogOfFloat = 0.0
    """Logarithm of the other coefficient at the first entry of ``reach_gap``."""
    raised: Annotated[Mapping[str, int], Keys(names=tuple(AlarmKind))] = field(default_factory=dict)
    """Alarms raised so far → step."""


def add_update(state: DetectorState, actuator: Actuator, observation: Observation, patience: int) -> DetectorState:
    """Add one update to the window; a change of contact with a bound starts a new window."""
    clipped_at = observation.clipped_at if actuator.low < actuator.high else 0
    contact = update_contact(state.contact, clipped_at, patience)
    if contact.side != state.contact.side:
        state = reset(state)
    error = relative_error(observation.measured, observation.target, observation.scale)
    return replace(
        state,
        contact=contact,
        errors=state.errors.add(error),
        log_values=state.log_values.add(log(observation.value)),
        in_dead_band=state.in_dead_band + observation.in_dead_band,
    )


def reset(state: DetectorState) -> DetectorState:
    """Empty the window."""
    return replace(state, errors=Trend(), log_values=Trend(), in_dead_band=0)


def add_reach(state: DetectorState, observation: Observation) -> DetectorState:
    """Add the distance of the target from the range that is reachable on this batch."""
    reach, target = observation.reach, observation.target
    if reach is None:
        return replace(state, reach_gap=Trend()) if state.reach_gap.count else state
    if state.reach_gap.count == 0:
        state = replace(state, other_log=log(observation.other))
    gap = max(target - reach.high, reach.low - target) / observation.scale
    return replace(state, reach_gap=state.reach_gap.add(gap))
