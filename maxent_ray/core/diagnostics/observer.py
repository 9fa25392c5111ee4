"""Observer of decisions: raises an alarm when a coefficient has no effect. No decision depends on it."""

from __future__ import annotations

from dataclasses import dataclass

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.diagnostics.alarms import Alarm
from maxent_ray.core.diagnostics.detector_state import DetectorState, Observation
from maxent_ray.core.diagnostics.detectors import apply_detectors
from maxent_ray.core.diagnostics.informative import InformativeState, detect_uninformative
from maxent_ray.core.state import Decision, Reason


@dataclass(frozen=True)
class ObserverState:
    """Memory of an :class:`Observer`."""

    tau: DetectorState = DetectorState()
    beta: DetectorState = DetectorState()
    informative: InformativeState = InformativeState()


class Observer:
    """Applies the detectors to both coefficients, and to the groups that τ has to work on.

    Pure: a state goes in, the new state and new alarms come out.

    Args:
        config: The settings of the controller whose decisions are observed.

    Example:
        >>> from maxent_ray.core.controller import Controller
        >>> from maxent_ray.core.statistics import BatchStatistics
        >>> config = ControllerConfig(group_size=8, target_kl=0.05, beta=0.1, beta_max=1.0)
        >>> controller, observer = Controller(config), Observer(config)
        >>> state, observed, kinds = controller.init(), ObserverState(), []
        >>> for _ in range(50):
        ...     state, decision = controller.step(state, BatchStatistics(tokens=1, policy_kl_sum=0.2))
        ...     observed, alarms = observer.observe(observed, decision)
        ...     kinds += [alarm.kind.value for alarm in alarms]
        >>> kinds
        ['saturated']
    """

    def __init__(self, config: ControllerConfig) -> None:
        self._tau = config.actuator("tau")
        self._beta = config.actuator("beta")
        self._moves_tau = config.moves("tau")

    def observe(self, state: ObserverState, decision: Decision) -> tuple[ObserverState, tuple[Alarm, ...]]:
        """Observe one decision; a coefficient without a signal in this round is skipped.

        Returns:
            The new state, and the alarms that were not raised before under these settings.
        """
        alarms: list[Alarm] = []
        states: list[DetectorState] = []
        for before, actuator in ((state.tau, self._tau), (state.beta, self._beta)):
            observation = _observation(decision, actuator.name)
            after, raised = (before, ()) if observation is None else apply_detectors(before, actuator, observation)
            states.append(after)
            alarms += raised
        informative = state.informative
        if self._moves_tau and _is_of_batches(decision):
            informative, found = detect_uninformative(informative, self._tau, decision.step, decision.tied_share)
            alarms += found
        tau, beta = states
        return ObserverState(tau, beta, informative), tuple(alarms)


def _is_of_batches(decision: Decision) -> bool:
    """False for a decision that says nothing of a whole window of batches, or whose batches were empty."""
    is_whole = decision.reason not in (Reason.WARM_UP, Reason.INTERVAL, Reason.NON_FINITE)
    return is_whole and not (decision.entropy is None and decision.kl is None and decision.tied_share == 0)


def _observation(decision: Decision, name: str) -> Observation | None:
    """Observation of one coefficient; None where the round had no signal for it."""
    value, other = decision.tau, decision.beta
    gradient, measured = decision.tau_grad, decision.entropy
    target, scale, reach = decision.target_entropy, decision.entropy_scale, decision.entropy_reach
    if name == "beta":
        value, other = other, value
        gradient, measured, reach = decision.beta_grad, decision.kl, decision.kl_reach
        target = scale = decision.target_kl
    if gradient is None or measured is None or target is None or scale is None:
        return None
    events = decision.events
    return Observation(
        step=decision.step,
        value=value,
        clipped_at=int(f"{name}.projected_high" in events) - int(f"{name}.projected_low" in events),
        in_dead_band=f"{name}.dead_band" in events,
        measured=measured,
        target=target,
        scale=scale,
        reach=reach,
        other=other,
        tied_share=decision.tied_share,
    )
