"""Rounds that are not decided on measurements: held while the controller is away, or passed over as unusable."""

from __future__ import annotations

from dataclasses import replace

from maxent_ray.core.controller import Controller
from maxent_ray.core.controller_state import ControllerState, Decision, Reason
from maxent_ray.runtime.protocol import Answer, Report


def decide_alone(controller: Controller, state: ControllerState, report: Report, *, use_statistics: bool) -> Answer:
    """Close the round of a report without the controller.

    Holding moves nothing but the step and the version, so ranks that hold the same round still agree. When the
    controller is back it goes on from there, unless it has decided more meanwhile. A local step uses this rank's
    statistics only: ranks may differ until the controller is back.

    Args:
        controller: The client's own copy.
        state: The newest state the client has seen.
        report: What would have been decided on.
        use_statistics: Step the copy; False holds.
    """
    if state.step >= report.step:  # a newer state has come along already: nothing is left to decide
        return Answer(state.coefficients(report.step), state.to_dict(), None)
    if use_statistics and not report.void:
        state, decision = controller.step(state, report.statistics, report.gradients)
    else:
        state, decision = pass_over(state, Reason.STALE, *([report.void] if report.void else []))
    return Answer(state.coefficients(report.step), state.to_dict(), decision.to_dict())


def held(state: ControllerState, rounds: int) -> ControllerState:
    """The state after so many rounds that were held: step, version and the count of held rounds move on."""
    return _passed(state, Reason.STALE, rounds) if rounds else state


def furthest(one: ControllerState, other: ControllerState) -> ControllerState:
    """Of two states of one run that with more decided rounds, held until where the other one is if that is further."""
    more, less = (one, other) if (one.decided, one.version) >= (other.decided, other.version) else (other, one)
    return held(more, max(less.step - more.step, 0))


def pass_over(state: ControllerState, reason: Reason, *why: str) -> tuple[ControllerState, Decision]:
    """Close a round with nothing but its step, its version and its reason: τ, β and every average stay."""
    passed = _passed(state, reason)
    decision = Decision(
        step=passed.step,
        version=passed.version,
        reason=reason,
        tau=passed.tau,
        beta=passed.beta,
        previous_tau=passed.tau,
        previous_beta=passed.beta,
        events=why,
    )
    return passed, decision


def _passed(state: ControllerState, reason: Reason, rounds: int = 1) -> ControllerState:
    return replace(state, step=state.step + rounds, version=state.version + rounds).count(reason, rounds)
