"""The controller: one pure step from measured statistics to new τ and β, with its reason.

:meth:`Controller.step` is the only function in the package that moves τ and β.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import NamedTuple

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.objectives import (
    ControllerGradients,
    ControllerMetaContext,
    Sensitivity,
    build_controller_objective,
    meta_gradient,
)
from maxent_ray.core.objectives import decoupled as decoupling
from maxent_ray.core.state import ControllerState, Decision, Reason
from maxent_ray.core.statistics import BatchStatistics, Reach, merge
from maxent_ray.core.update_rules import Signal, UpdateRule
from maxent_ray.core.update_rules.coefficient_rules import build_rule
from maxent_ray.core.validation import first_problem


@dataclass(frozen=True)
class Targets:
    """The targets in force at one step, in the form that objectives read."""

    tau_target_entropy: float | None
    kl_target: float


class _Measured(NamedTuple):
    """One window of statistics, seen through the declared signals."""

    entropy: float | None
    kl: float | None
    entropy_reach: Reach | None
    kl_reach: Reach | None
    statistics: BatchStatistics


class _Moved(NamedTuple):
    value: float
    rule: dict[str, float]
    events: tuple[str, ...]


class Controller:
    """Keeps entropy and KL on target by moving τ and β. Pure: state goes in, state comes out.

    Example:
        >>> controller = Controller(ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05))
        >>> state = controller.init()
        >>> too_diverse = BatchStatistics(groups=1, weight_entropy_sum=2.0, tokens=1, policy_kl_sum=0.05)
        >>> state, decision = controller.step(state, too_diverse)
        >>> decision.reason.value, state.tau < 0.3
        ('updated', True)
    """

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        self._objective = build_controller_objective(None, SimpleNamespace(controller_meta=_meta_view(config)))
        self._tau_rule = build_rule(config, "tau")
        self._beta_rule = build_rule(config, "beta")

    def init(self) -> ControllerState:
        """The state before the first step: the config's τ and β, version 0."""
        return ControllerState(
            tau=self.config.tau,
            beta=self.config.beta,
            tau_rule=self._tau_rule.init(self.config.tau),
            beta_rule=self._beta_rule.init(self.config.beta),
        )

    def adopt(self, state: ControllerState) -> ControllerState:
        """Make a state from another run usable under this config.

        A coefficient that this config moves is brought inside this config's bounds; one that it holds fixed is a
        setting, and takes this config's value. Averages and moments are kept when the update rule has the same parts
        and start anew when it has not.
        """
        tau = self._within_bounds("tau", state.tau) if self.config.moves("tau") else self.config.tau
        beta = self._within_bounds("beta", state.beta) if self.config.moves("beta") else self.config.beta
        fresh_tau, fresh_beta = self._tau_rule.init(tau), self._beta_rule.init(beta)
        return replace(
            state,
            tau=tau,
            beta=beta,
            tau_rule=state.tau_rule if state.tau_rule.keys() == fresh_tau.keys() else fresh_tau,
            beta_rule=state.beta_rule if state.beta_rule.keys() == fresh_beta.keys() else fresh_beta,
        )

    def step(
        self, state: ControllerState, statistics: BatchStatistics | None, gradients: ControllerGradients | None = None
    ) -> tuple[ControllerState, Decision]:
        """Decide one round.

        Args:
            state: The state after the previous round.
            statistics: The merged statistics of this round's batch; None: there are none that can be used.
            gradients: Merged truncated-backprop gradients or sensitivities of this round, if workers formed them.

        Returns:
            The new state and the decision. Numbers that are not finite, or so large that what follows from them is
            not, leave τ, β and every average unchanged; the decision says ``non_finite``.
        """
        state = replace(state, step=state.step + 1, version=state.version + 1)
        targets = Targets(self.config.target_entropy_at(state.step), self.config.target_kl)
        if statistics is None or statistics.invalid_field() is not None:
            return self._keep(state, Reason.NON_FINITE, targets, self._measure(BatchStatistics()))
        window = merge(state.window, statistics)
        measured = self._measure(window)
        decided, decision = self._decide(state, window, targets, measured, gradients)
        if first_problem(decided) is not None:  # it could not be read back from a checkpoint or a client either
            return self._keep(replace(state, window=BatchStatistics()), Reason.NON_FINITE, targets, measured)
        return decided, decision

    def _decide(
        self,
        state: ControllerState,
        window: BatchStatistics,
        targets: Targets,
        measured: _Measured,
        gradients: ControllerGradients | None,
    ) -> tuple[ControllerState, Decision]:
        """Act on what was measured, if this is the step for it."""
        if not self.config.is_update_step(state.step):
            in_warm_up = state.step < self.config.warmup_steps
            state = replace(state, window=BatchStatistics() if in_warm_up else window)
            return self._keep(state, Reason.WARM_UP if in_warm_up else Reason.INTERVAL, targets, measured)
        state = replace(state, window=BatchStatistics())
        if gradients is not None and first_problem(gradients) is not None:
            return self._keep(state, Reason.NON_FINITE, targets, measured)
        tracked = self._track(state, targets, measured, gradients)
        signals = self._compute(tracked, targets, measured, gradients)
        if signals is None:
            return self._keep(state, Reason.NO_GRADIENT, targets, measured)
        if first_problem(signals) is not None:
            return self._keep(state, Reason.NON_FINITE, targets, measured)
        return self._move(tracked, targets, measured, signals)

    def _measure(self, statistics: BatchStatistics) -> _Measured:
        entropy, kl = self.config.entropy_signal, self.config.kl_signal
        reaches = (statistics.reach(entropy), statistics.reach(kl))
        return _Measured(statistics.mean(entropy), statistics.mean(kl), *reaches, statistics)

    def _track(
        self, state: ControllerState, targets: Targets, measured: _Measured, gradients: ControllerGradients | None
    ) -> ControllerState:
        """Take the round's sensitivities into what the form remembers."""
        if gradients is None or gradients.sensitivity is None:
            return state
        sensitivity = gradients.sensitivity
        if not self.config.is_decoupled:
            track = state.sensitivities.track(sensitivity, self.config.sensitivity_decay)
            return replace(state, sensitivities=track)
        if measured.kl is None or targets.kl_target <= 0:
            return state
        memory = state.decoupling.track(sensitivity, measured.kl, state.step, targets.kl_target)
        return replace(state, decoupling=memory)

    def _compute(
        self,
        state: ControllerState,
        targets: Targets,
        measured: _Measured,
        gradients: ControllerGradients | None,
    ) -> ControllerGradients | None:
        """Ask the objective; truncated backprop finds the workers' unroll behind ``backprop_fn``."""
        if self._objective is None:
            return None

        def backprop(steps: int) -> ControllerGradients | None:
            if gradients is None or gradients.sensitivity is None:
                return gradients
            if gradients.sensitivity.steps != steps:
                return None
            target_entropy, target_kl = targets.tau_target_entropy, targets.kl_target
            match self.config.form:
                case "joint":
                    return meta_gradient.joint(gradients.sensitivity, target_entropy, target_kl)
                case "paired":
                    track = state.sensitivities
                    return meta_gradient.paired(gradients.sensitivity, track, target_entropy, target_kl)
                case "decoupled":
                    return self._decouple(state, targets, measured, gradients.sensitivity)

        signals = self._objective.compute(
            ControllerMetaContext(
                weighting=targets,
                weight_stats=SimpleNamespace(weight_entropy=measured.entropy),
                loss_outputs=None,
                global_step=state.step,
                kl_value=measured.kl,
                backprop_fn=backprop,
            )
        )
        return None if signals is None else self._controlled(signals)

    def _decouple(
        self, state: ControllerState, targets: Targets, measured: _Measured, sensitivity: Sensitivity
    ) -> ControllerGradients:
        """Both moves at once, from the newest coefficients."""
        aim = decoupling.Aim(
            targets.tau_target_entropy,
            targets.kl_target if measured.kl is not None else 0.0,
            self.config.kl_bandwidth,
            beta_bounds=self.config.bounds("beta"),
        )
        pending = min(max(state.version - 1 - sensitivity.version, 0), decoupling.MOST_PENDING)
        latest = (state.tau, state.beta)
        return decoupling.decoupled(state.decoupling, sensitivity, measured.entropy, latest, pending, aim)

    def _controlled(self, signals: ControllerGradients) -> ControllerGradients | None:
        """Only the signals of coefficients that this config moves: ``joint`` always forms both."""
        kept = replace(
            signals,
            tau_grad=signals.tau_grad if self.config.moves("tau") else None,
            beta_grad=signals.beta_grad if self.config.moves("beta") else None,
        )
        return kept if kept.has_updates() else None

    def _move(
        self, state: ControllerState, targets: Targets, measured: _Measured, signals: ControllerGradients
    ) -> tuple[ControllerState, Decision]:
        """Move τ down its gradient and β up its own, each through its rule."""
        relative = signals.source == "analytic"
        statistics = measured.statistics
        tau = self._apply(
            self._tau_rule,
            state.tau,
            state.tau_rule,
            gradient=signals.tau_grad,
            curvature=statistics.mean("entropy_tau"),
            scale=targets.tau_target_entropy if relative else None,
        )
        kl_beta = statistics.mean("kl_beta")
        beta = self._apply(
            self._beta_rule,
            state.beta,
            state.beta_rule,
            gradient=None if signals.beta_grad is None else -signals.beta_grad,
            curvature=None if kl_beta is None else -kl_beta,
            scale=targets.kl_target if relative else None,
        )
        fallback = ("fallback",) if self.config.uses_hypergradients and relative else ()
        events = fallback + tuple(f"tau.{e}" for e in tau.events) + tuple(f"beta.{e}" for e in beta.events)
        moved = replace(state, tau=tau.value, beta=beta.value, tau_rule=tau.rule, beta_rule=beta.rule)
        decision = _decision(moved, state, Reason.UPDATED, targets, measured, signals, events)
        return moved, replace(decision, reason=_reason(decision, tau.events, beta.events))

    def _apply(
        self,
        rule: UpdateRule,
        value: float,
        rule_state: object,
        *,
        gradient: float | None,
        curvature: float | None,
        scale: float | None,
    ) -> _Moved:
        """One coefficient through its rule; without a signal, or inside the dead band, it stays where it is."""
        if gradient is None:
            return _Moved(value, dict(rule_state), ())  # type: ignore[call-overload]
        scale = scale or 1.0
        signal = Signal(gradient / scale, value, curvature=None if curvature is None else curvature / scale)
        signal, new_state = rule.update(signal, rule_state)  # type: ignore[arg-type]
        if "dead_band" in signal.events:
            # The error is not acted on: what a step rule remembers (momentum, a proportional part) must not act either.
            held = {k: v for k, v in dict(rule_state).items() if k.startswith("step.")}  # type: ignore[call-overload]
            return _Moved(value, {**new_state, **held}, ("dead_band",))
        return _Moved(signal.value, dict(new_state), signal.events)

    def _keep(
        self, state: ControllerState, reason: Reason, targets: Targets, measured: _Measured
    ) -> tuple[ControllerState, Decision]:
        return state, _decision(state, state, reason, targets, measured, ControllerGradients(), ())

    def _within_bounds(self, name: str, value: float) -> float:
        low, high = self.config.bounds(name)
        return min(max(value, low), high)


def _reason(decision: Decision, tau_events: tuple[str, ...], beta_events: tuple[str, ...]) -> Reason:
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


def _decision(
    new: ControllerState,
    old: ControllerState,
    reason: Reason,
    targets: Targets,
    measured: _Measured,
    signals: ControllerGradients,
    events: tuple[str, ...],
) -> Decision:
    return Decision(
        step=new.step,
        version=new.version,
        reason=reason,
        tau=new.tau,
        beta=new.beta,
        previous_tau=old.tau,
        previous_beta=old.beta,
        entropy=measured.entropy,
        target_entropy=targets.tau_target_entropy,
        kl=measured.kl,
        target_kl=targets.kl_target or None,
        tau_grad=signals.tau_grad,
        beta_grad=signals.beta_grad,
        source=signals.source,
        events=events,
        tied_share=measured.statistics.tied_share,
        entropy_reach=measured.entropy_reach,
        kl_reach=measured.kl_reach,
    )


def _meta_view(config: ControllerConfig) -> SimpleNamespace | None:
    if config.objective is None:
        return None
    return SimpleNamespace(
        enabled=True, method=config.objective, truncation_steps=config.truncation_steps, fallback=config.fallback
    )
