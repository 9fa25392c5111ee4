"""Memory of one coefficient: a window of its updates, the bound it stands at, and the alarms given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, NamedTuple

from maxent_ray.core.diagnostics.alarms import Actuator, AlarmKind
from maxent_ray.core.diagnostics.saturation import Standing, log, stand
from maxent_ray.core.diagnostics.trend import Trend
from maxent_ray.core.field_types import Keys, LogOfFloat
from maxent_ray.core.statistics import Reach


class Sighting(NamedTuple):
    """One update of one coefficient."""

    step: int
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
class Watch:
    """Memory of one coefficient."""

    settings: int = 0
    """Fingerprint of the settings that all of it is about."""
    errors: Trend = Trend()
    """Relative errors of this window."""
    logs: Trend = Trend()
    """Logarithms of the coefficient after its updates."""
    in_dead_band: int = 0
    """Updates of the window that the dead band swallowed."""
    standing: Standing = Standing()
    outside: Trend = Trend()
    """How far the target is outside what is reachable (relative; negative: inside)."""
    other_log: LogOfFloat = 0.0
    """Logarithm of the other coefficient when that began."""
    said: Annotated[Mapping[str, int], Keys(names=tuple(AlarmKind))] = field(default_factory=dict)
    """Alarms that were given → step."""


def with_update(memory: Watch, actuator: Actuator, seen: Sighting, patience: int) -> Watch:
    """The window with one more update, or a new one."""
    pushed = seen.pushed if actuator.low < actuator.high else 0
    standing = stand(memory.standing, pushed, patience)
    if standing.side != memory.standing.side:
        memory = anew(memory)
    error, log_value = seen.measured / seen.target - 1, log(seen.after)
    return replace(
        memory,
        standing=standing,
        errors=memory.errors.add(error),
        logs=memory.logs.add(log_value),
        in_dead_band=memory.in_dead_band + seen.in_dead_band,
    )


def anew(memory: Watch) -> Watch:
    """With an empty window."""
    return replace(memory, errors=Trend(), logs=Trend(), in_dead_band=0)


def with_reach(memory: Watch, seen: Sighting) -> Watch:
    """What the batch says of the reachable."""
    if seen.reach is None:
        return replace(memory, outside=Trend()) if memory.outside.count else memory
    if memory.outside.count == 0:
        memory = replace(memory, other_log=log(seen.other))
    outside = max(seen.target - seen.reach.high, seen.reach.low - seen.target) / seen.target
    return replace(memory, outside=memory.outside.add(outside))
