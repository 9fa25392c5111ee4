"""Decisions of the controller, built from one round's targets, measurements and signals."""

from __future__ import annotations

from typing import NamedTuple

from maxent_ray.core.objectives.interface import ControllerGradients
from maxent_ray.core.relative_errors import relative_error
from maxent_ray.core.state import Coefficients, ControllerState, Decision, Reason
from maxent_ray.core.statistics import BatchStatistics, Reach
from maxent_ray.core.targets import Targets


class Measured(NamedTuple):
    """One window of statistics, and the declared signals in it."""

    entropy: float | None
    kl: float | None
    entropy_reach: Reach | None
    kl_reach: Reach | None
    statistics: BatchStatistics


def reason_of_update(decision: Decision, tau_events: tuple[str, ...], beta_events: tuple[str, ...]) -> Reason:
    """Reason of an update, of this batch alone."""
    active = [
        events
        for grad, events in ((decision.tau_grad, tau_events), (decision.beta_grad, beta_events))
        if grad is not None
    ]
    if all("dead_band" in events for events in active):
        return Reason.DEAD_BAND
    if _is_beyond(tau_events, decision.target_entropy, decision.entropy_reach) or _is_beyond(
        beta_events, decision.target_kl, decision.kl_reach
    ):
        return Reason.INFEASIBLE_TARGET
    return Reason.CLIPPED if any(event != "dead_band" for events in active for event in events) else Reason.UPDATED


def _is_beyond(events: tuple[str, ...], target: float | None, reach: Reach | None) -> bool:
    """A bound held this update back, and no value inside the bounds gives the target on this batch."""
    held = "projected_low" in events or "projected_high" in events
    return held and target is not None and reach is not None and not reach.contains(target)


def build_decision(
    new: ControllerState,
    old: ControllerState,
    reason: Reason,
    targets: Targets,
    measured: Measured,
    signals: ControllerGradients,
    events: tuple[str, ...],
) -> Decision:
    """Record one round.

    Args:
        new: State after the round.
        old: State before it.
        reason: Reason of the decision.
        targets: Targets in force.
        measured: Measurements.
        signals: Error signals that were acted on.
        events: Notes of the update rules.
    """
    return Decision(
        step=new.step,
        version=new.version,
        reason=reason,
        tau=new.tau,
        beta=new.beta,
        previous_tau=old.tau,
        previous_beta=old.beta,
        entropy=measured.entropy,
        target_entropy=targets.target_entropy,
        entropy_set_point=targets.tau_target_entropy,
        entropy_scale=None if targets.target_entropy is None else targets.entropy_scale,
        kl=measured.kl,
        target_kl=targets.target_kl or None,
        kl_set_point=targets.kl_target or None,
        tau_grad=signals.tau_grad,
        beta_grad=signals.beta_grad,
        source=signals.source,
        events=events,
        tied_share=measured.statistics.tied_share,
        entropy_reach=measured.entropy_reach,
        kl_reach=measured.kl_reach,
    )


def tracking_values(
    used: Coefficients,
    *,
    entropy: float | None,
    target_entropy: float | None,
    entropy_scale: float | None,
    kl: float | None,
    target_kl: float | None,
) -> dict[str, float | None]:
    """Coefficients that a batch trained with, its signals, their targets and relative errors, by name for trackers.

    Args:
        used: Coefficients that the batch trained with.
        entropy: H of the batch (nats).
        target_entropy: H* (nats).
        entropy_scale: Error of H that counts as 1 (nats).
        kl: KL of the batch (nats).
        target_kl: KL* (nats).

    Example:
        >>> used = Coefficients(tau=0.01, beta=0.2, version=4, step=4)
        >>> values = tracking_values(
        ...     used, entropy=0.6, target_entropy=0.5, entropy_scale=0.5, kl=0.03, target_kl=None
        ... )
        >>> round(values["entropy_error"], 3), values["kl_error"], values["beta"]
        (0.2, None, 0.2)
    """
    return {
        "tau": used.tau,
        "beta": used.beta,
        "entropy": entropy,
        "kl": kl,
        "target_entropy": target_entropy,
        "target_kl": target_kl,
        "entropy_scale": None if target_entropy is None else entropy_scale,
        "entropy_error": relative_error(entropy, target_entropy, entropy_scale),
        "kl_error": relative_error(kl, target_kl, target_kl),
    }
