"""Observer of decisions: raises an alarm when a coefficient has no effect. No decision depends on it."""

from __future__ import annotations

from dataclasses import dataclass

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.diagnostics.alarms import Alarm
from maxent_ray.core.diagnostics.detector_state import Sighting, Watch
from maxent_ray.core.diagnostics.detectors import watch
from maxent_ray.core.state import Decision


@dataclass(frozen=True)
class Observations:
    """Memory of an :class:`Observer`."""

    tau: Watch = Watch()
    beta: Watch = Watch()


class Observer:
    """Watches both coefficients. Pure: memory goes in, memory and new alarms come out.

    Args:
        config: The settings of the controller whose decisions are observed.

    Example:
        >>> from maxent_ray.core.controller import Controller
        >>> from maxent_ray.core.statistics import BatchStatistics
        >>> config = ControllerConfig(group_size=8, target_kl=0.05, beta=0.1, beta_max=1.0)
        >>> controller, observer = Controller(config), Observer(config)
        >>> state, memory, kinds = controller.init(), Observations(), []
        >>> for _ in range(40):
        ...     state, decision = controller.step(state, BatchStatistics(tokens=1, policy_kl_sum=0.2))
        ...     memory, alarms = observer.observe(memory, decision)
        ...     kinds += [alarm.kind.value for alarm in alarms]
        >>> kinds
        ['saturated']
    """

    def __init__(self, config: ControllerConfig) -> None:
        self._tau = config.actuator("tau")
        self._beta = config.actuator("beta")

    def observe(self, memory: Observations, decision: Decision) -> tuple[Observations, tuple[Alarm, ...]]:
        """Take one decision in; a coefficient that it had no signal for is not looked at.

        Returns:
            The new memory, and alarms that were not given before under these settings.
        """
        tau, beta = memory.tau, memory.beta
        alarms: tuple[Alarm, ...] = ()
        seen = _tau_seen(decision)
        if seen is not None:
            tau, alarms = watch(tau, self._tau, seen)
        seen = _beta_seen(decision)
        if seen is not None:
            beta, more = watch(beta, self._beta, seen)
            alarms += more
        return Observations(tau, beta), alarms


def _tau_seen(decision: Decision) -> Sighting | None:
    if decision.tau_grad is None or decision.entropy is None or decision.target_entropy is None:
        return None
    return Sighting(
        step=decision.step,
        after=decision.tau,
        pushed=_pushed("tau", decision.events),
        in_dead_band="tau.dead_band" in decision.events,
        measured=decision.entropy,
        target=decision.target_entropy,
        reach=decision.entropy_reach,
        other=decision.beta,
        tied_share=decision.tied_share,
    )


def _beta_seen(decision: Decision) -> Sighting | None:
    if decision.beta_grad is None or decision.kl is None or decision.target_kl is None:
        return None
    return Sighting(
        step=decision.step,
        after=decision.beta,
        pushed=_pushed("beta", decision.events),
        in_dead_band="beta.dead_band" in decision.events,
        measured=decision.kl,
        target=decision.target_kl,
        reach=decision.kl_reach,
        other=decision.tau,
        tied_share=decision.tied_share,
    )


def _pushed(name: str, events: tuple[str, ...]) -> int:
    return int(f"{name}.projected_high" in events) - int(f"{name}.projected_low" in events)
