"""Detector of batches that teach nothing: the share of groups whose rewards differ, over a window of updates.

The window is evaluated every ``saturation_patience`` updates. A mean of a tenth or more starts a new one; below, it
grows until the mean is significantly below: a false alarm is worse than a late one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from maxent_ray.core.diagnostics import alarms
from maxent_ray.core.diagnostics.alarms import Actuator, Alarm
from maxent_ray.core.diagnostics.detectors import LEAST_BLOCK
from maxent_ray.core.diagnostics.trend import Trend
from maxent_ray.core.field_types import LastStep

LEAST_SHARE = 0.1
"""Smallest share of informative groups without an alarm."""
ROUNDING = 1e-9
"""A share of a tenth is one up to this."""


@dataclass(frozen=True)
class InformativeState:
    """Memory of the detector."""

    fingerprint: int = 0
    """Fingerprint of the settings that the rest belongs to."""
    gaps: Trend = Trend()
    """Share of informative groups less :data:`LEAST_SHARE`, in the window."""
    raised: LastStep = -1
    """Step of the alarm; −1: none was raised."""


def detect_uninformative(
    state: InformativeState, actuator: Actuator, step: int, tied_share: float
) -> tuple[InformativeState, tuple[Alarm, ...]]:
    """Apply the detector to one update.

    Args:
        state: Memory before it.
        actuator: τ and its settings; after a change of them the alarm may be raised again.
        step: Step of the update.
        tied_share: Share of the groups whose rewards all tie.

    Returns:
        The new memory, and the alarm if it was not raised before under these settings.

    Example:
        >>> from maxent_ray import ControllerConfig
        >>> tau = ControllerConfig(group_size=8, target_entropy=1.9).actuator("tau")
        >>> state, kinds = InformativeState(), []
        >>> for step in range(40):
        ...     state, raised = detect_uninformative(state, tau, step, tied_share=0.95)
        ...     kinds += [(step, alarm.kind.value) for alarm in raised]
        >>> kinds
        [(19, 'uninformative')]
    """
    if state.fingerprint != actuator.fingerprint:
        state = InformativeState(fingerprint=actuator.fingerprint)
    if state.raised >= 0:
        return state, ()
    gaps = state.gaps.add(1 - tied_share - LEAST_SHARE)
    if gaps.count % max(actuator.patience, LEAST_BLOCK):
        return replace(state, gaps=gaps), ()
    if gaps.mean > -ROUNDING:
        return replace(state, gaps=Trend()), ()
    if not gaps.is_off_zero:
        return replace(state, gaps=gaps), ()
    alarm = alarms.uninformative(updates=gaps.count, informative_share=gaps.mean + LEAST_SHARE)
    return replace(state, gaps=Trend(), raised=max(step, 0)), (alarm,)
