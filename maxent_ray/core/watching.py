"""After a decision: does each coefficient that it moved do anything?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from maxent_ray.core.actuators import watch
from maxent_ray.core.alarms import Actuator, Alarm, Reach
from maxent_ray.core.controller_state import ControllerState, Decision, Reason
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.window import Sighting, Watch


def watched(
    state: ControllerState, decision: Decision, statistics: BatchStatistics, actuators: Mapping[str, Actuator]
) -> tuple[ControllerState, Decision]:
    """The state with what this decision showed of τ and β, and the decision with the alarms that it led to.

    The reason becomes ``infeasible_target`` where a bound held an update back that the target is known to lie beyond;
    it is counted in the state.

    Args:
        state: After the decision, its reason not yet counted.
        decision: One that acted on a signal; coefficients without one are not looked at.
        statistics: What it was measured from.
        actuators: ``"tau"`` and ``"beta"`` as the settings have them.
    """
    tau_seen = _tau_seen(decision, statistics, actuators["tau"])
    beta_seen = _beta_seen(decision, statistics, actuators["beta"])
    tau, tau_alarms = _watch(state.tau_watch, actuators["tau"], tau_seen)
    beta, beta_alarms = _watch(state.beta_watch, actuators["beta"], beta_seen)
    infeasible = _is_infeasible(tau, tau_seen) or _is_infeasible(beta, beta_seen)
    reason = Reason.INFEASIBLE_TARGET if infeasible else decision.reason
    state = replace(state.count(reason), tau_watch=tau, beta_watch=beta)
    return state, replace(decision, reason=reason, alarms=(*tau_alarms, *beta_alarms))


def _watch(memory: Watch, actuator: Actuator, seen: Sighting | None) -> tuple[Watch, tuple[Alarm, ...]]:
    return (memory, ()) if seen is None else watch(memory, actuator, seen)


def _is_infeasible(memory: Watch, seen: Sighting | None) -> bool:
    """Whether a bound held this update back, and the target is known to lie beyond it."""
    return seen is not None and memory.infeasible == 1 and seen.pushed != 0


def _tau_seen(decision: Decision, statistics: BatchStatistics, actuator: Actuator) -> Sighting | None:
    if decision.tau_grad is None or decision.entropy is None or decision.target_entropy is None:
        return None
    return Sighting(
        step=decision.step,
        after=decision.tau,
        pushed=_pushed("tau", decision.events),
        in_dead_band="tau.dead_band" in decision.events,
        measured=decision.entropy,
        target=decision.target_entropy,
        reach=_reach(actuator, statistics, "entropy_at_tau_min", "entropy_at_tau_max"),
        other=decision.beta,
        tied_share=decision.tied_share,
    )


def _beta_seen(decision: Decision, statistics: BatchStatistics, actuator: Actuator) -> Sighting | None:
    if decision.beta_grad is None or decision.kl is None or decision.target_kl is None:
        return None
    return Sighting(
        step=decision.step,
        after=decision.beta,
        pushed=_pushed("beta", decision.events),
        in_dead_band="beta.dead_band" in decision.events,
        measured=decision.kl,
        target=decision.target_kl,
        reach=_reach(actuator, statistics, "kl_at_beta_max", "kl_at_beta_min"),  # KL falls as β rises
        other=decision.tau,
        tied_share=decision.tied_share,
    )


def _reach(actuator: Actuator, statistics: BatchStatistics, at_low: str, at_high: str) -> Reach | None:
    """What the batch says that the weights can be made; nothing is known of the policy's own entropy and KL."""
    low, high = statistics.mean(at_low), statistics.mean(at_high)
    if low is None or high is None or actuator.signal not in ("weight_entropy", "weight_kl"):
        return None
    return Reach(low, high)


def _pushed(name: str, events: tuple[str, ...]) -> int:
    return int(f"{name}.projected_high" in events) - int(f"{name}.projected_low" in events)
