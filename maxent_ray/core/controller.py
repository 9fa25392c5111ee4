"""The controller: one pure step from measured statistics to new τ and β, with its reason.

:meth:`Controller.step` is the only function in the package that moves τ and β.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.decision import Measured, build_decision, reason_of_update
from maxent_ray.core.objective_checks import ObjectiveUpdate, check_objective, checked_signals, overflow_path
from maxent_ray.core.objectives import (
    ControllerGradients,
    ControllerMetaContext,
    ControllerObjective,
    TruncatedBackpropControllerObjective,
)
from maxent_ray.core.relative_errors import log_error, relative_error
from maxent_ray.core.report_checks import missing_signal
from maxent_ray.core.set_points import SetPoint, SetPoints
from maxent_ray.core.state import Coefficients, ControllerState, Decision, NestedMemory, Reason
from maxent_ray.core.statistics import BatchStatistics, merge
from maxent_ray.core.targets import Targets, advance_set_points, set_points_of, targets_of
from maxent_ray.core.update_rules import Signal, Tuning, UpdateRule
from maxent_ray.core.update_rules.settings import build_rule
from maxent_ray.core.update_rules.step_limit import carry_over
from maxent_ray.errors import ConfigError, InvalidReportError


class _Moved(NamedTuple):
    value: float
    rule: NestedMemory
    events: tuple[str, ...] = ()
    tuning: Tuning | None = None


class Controller:
    """Keeps entropy and KL on target by moving τ and β. Pure: state goes in, state comes out.

    Args:
        config: Settings.
        objective: From measurements to error signals, instead of the one that ``config.objective`` names. Signals are
            relative errors: H/H* − 1 asks for the step that the analytic objective's H − H* asks for.

    Raises:
        ConfigError: a target is a fraction of log G and ``group_size`` is not set; an objective or a rule that is
            named by its import path cannot be built.

    Example:
        >>> controller = Controller(ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05))
        >>> state = controller.init()
        >>> too_diverse = BatchStatistics(groups=1, weight_entropy_sum=2.0, tokens=1, policy_kl_sum=0.05)
        >>> state, decision = controller.step(state, too_diverse)
        >>> decision.reason.value, state.tau < 0.3
        ('updated', True)
    """

    def __init__(self, config: ControllerConfig, objective: ControllerObjective | None = None) -> None:
        if config.group_size is None and config.target_entropy_fraction is not None:
            fraction = config.target_entropy_fraction
            raise ConfigError(f"target_entropy_fraction is {fraction}, of log G; group_size, which is G, must be set")
        if objective is not None:
            check_objective(objective, config)
        self.config = config
        named = None if config.objective is None else config.objective.build(config.loops)
        self._objective = named if objective is None else objective
        self._tau_rule, self._beta_rule = (build_rule(config.rule(n), config.loop(n)) for n in ("tau", "beta"))

    def init(self) -> ControllerState:
        """The state before the first step: the config's τ and β, version 0."""
        return ControllerState(
            tau=self.config.initial("tau"),
            beta=self.config.beta,
            tau_rule=self._tau_rule.init(self.config.initial("tau")),
            beta_rule=self._beta_rule.init(self.config.beta),
            objective={} if self._objective is None else {self._objective.name: self._objective.init()},
        )

    def adopt(self, state: ControllerState) -> ControllerState:
        """Make a state from another run usable under this config.

        A coefficient that this config moves is brought inside this config's bounds; one that it holds fixed is a
        setting, and takes this config's value. Averages and moments are kept when the update rule has the same parts
        and reset when it has not; the objective's memory likewise. Set points continue on their ways, and leave for a
        target that is another under this config at the next step.

        Raises:
            InvalidReportError: the objective's memory is out of range.
        """
        fresh = self.init()
        tau = self._within_bounds("tau", state.tau) if self.config.moves("tau") else self.config.initial("tau")
        beta = self._within_bounds("beta", state.beta) if self.config.moves("beta") else self.config.beta
        memory = dict(fresh.objective)
        if self._objective is not None and self._objective.name in state.objective:
            memory[self._objective.name] = self._objective.restore(state.objective[self._objective.name])
        return replace(
            state,
            tau=tau,
            beta=beta,
            tau_rule=carry_over(state.tau_rule, fresh.tau_rule),
            beta_rule=carry_over(state.beta_rule, fresh.beta_rule),
            objective=memory,
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

        Raises:
            InvalidReportError: the batch was not measured for a signal that has a target.
        """
        state = replace(state, step=state.step + 1, version=state.version + 1)
        nothing = self._measure(BatchStatistics())
        unmeasured = advance_set_points(self.config, state, entropy=None, kl=None)
        if statistics is None or statistics.invalid_field() is not None:
            return self._keep(unmeasured, Reason.NON_FINITE, targets_of(self.config, unmeasured), nothing)
        missing = missing_signal(self.config, statistics)
        if missing:
            raise InvalidReportError(f"step {state.step}: {missing}")
        window = merge(state.window, statistics)
        measured = self._measure(window)
        if _is_unrolled(gradients) and not statistics.is_empty and self.config.measure("tau", statistics) is None:
            measured = measured._replace(entropy=None)  # H after the unroll is a mean over no group
        state = advance_set_points(self.config, state, measured.entropy, measured.kl)
        decided, decision = self._decide(state, window, targets_of(self.config, state), measured, gradients)
        overflow = overflow_path(decided)
        if overflow:  # it could not be read back from a checkpoint or a client either
            state, targets = replace(unmeasured, window=BatchStatistics()), targets_of(self.config, unmeasured)
            return self._keep(state, Reason.NON_FINITE, targets, measured, (f"overflow.{overflow}",))
        return decided, decision

    def set_points(self, state: ControllerState) -> SetPoints:
        """Set points after the state's round (nats)."""
        return set_points_of(self.config, state)

    def _decide(
        self,
        state: ControllerState,
        window: BatchStatistics,
        targets: Targets,
        measured: Measured,
        gradients: ControllerGradients | None,
    ) -> tuple[ControllerState, Decision]:
        """Act on what was measured, if this is the step for it."""
        if not self.config.is_update_step(state.step):
            in_warm_up = state.step < self.config.warmup_steps
            state = replace(state, window=BatchStatistics() if in_warm_up else window)
            return self._keep(state, Reason.WARM_UP if in_warm_up else Reason.INTERVAL, targets, measured)
        state = replace(state, window=BatchStatistics())
        overflow = overflow_path(gradients)
        if overflow:
            return self._keep(state, Reason.NON_FINITE, targets, measured, (f"overflow.gradients.{overflow}",))
        signals = self._compute(state, targets, measured, gradients)
        overflow = overflow_path(signals.gradients)
        if overflow:
            return self._keep(state, Reason.NON_FINITE, targets, measured, (f"overflow.signals.{overflow}",))
        if self._objective is not None:
            state = replace(state, objective={self._objective.name: signals.memory})
        controlled = self._controlled(signals.gradients)
        events = self._unmeasured(measured, controlled)
        if controlled is None:
            return self._keep(state, Reason.NO_GRADIENT, targets, measured, events)
        return self._move(state, targets, measured, controlled, events)

    def _measure(self, statistics: BatchStatistics) -> Measured:
        config = self.config
        entropy, kl = (config.measure(name, statistics) for name in ("tau", "beta"))
        entropy_reach, kl_reach = (statistics.reach(config.signal(name)) for name in ("tau", "beta"))
        return Measured(entropy, kl, entropy_reach, kl_reach, statistics)

    def _compute(
        self,
        state: ControllerState,
        targets: Targets,
        measured: Measured,
        gradients: ControllerGradients | None,
    ) -> ObjectiveUpdate:
        """Ask the objective; truncated backprop finds the workers' unroll behind ``backprop_fn``."""
        if self._objective is None:
            return ObjectiveUpdate(None, {})
        context = ControllerMetaContext(
            weighting=targets,
            weight_stats=SimpleNamespace(weight_entropy=measured.entropy),
            loss_outputs=None,
            global_step=state.step,
            kl_value=measured.kl,
            backprop_fn=partial(_of_steps, gradients),
            coefficients=Coefficients(state.tau, state.beta, state.version - 1, state.step),
        )
        name = self._objective.name
        if name not in state.objective:
            raise ConfigError(f"the state has no memory of objective {name!r}; take it over by Controller.adopt")
        return checked_signals(self._objective.update(context, state.objective[name]), name)

    def _controlled(self, signals: ControllerGradients | None) -> ControllerGradients | None:
        """Signals of coefficients that this config moves, in a direction that is known: ``joint`` always forms both."""
        if signals is None:
            return None
        kept = replace(
            signals,
            tau_grad=signals.tau_grad if self.config.moves("tau") and signals.tau_confidence else None,
            beta_grad=signals.beta_grad if self.config.moves("beta") and signals.beta_confidence else None,
        )
        return kept if kept.has_updates() else None

    def _unmeasured(self, measured: Measured, signals: ControllerGradients | None) -> tuple[str, ...]:
        """Events of coefficients that stay because the batch had nothing to measure their signal on."""
        if measured.statistics.is_empty:
            return ()
        found = {
            "tau": measured.entropy is None and (signals is None or signals.tau_grad is None),
            "beta": measured.kl is None and (signals is None or signals.beta_grad is None),
        }
        return tuple(f"{name}.not_measured" for name, lacks in found.items() if lacks and self.config.moves(name))

    def _move(
        self,
        state: ControllerState,
        targets: Targets,
        measured: Measured,
        signals: ControllerGradients,
        events: tuple[str, ...],
    ) -> tuple[ControllerState, Decision]:
        """Move τ down its gradient and β up its own, each through its rule."""
        in_nats = signals.source == "analytic"
        statistics, kl_beta = measured.statistics, measured.statistics.mean("kl_beta")
        tau = self._apply(
            self._tau_rule,
            state.tau,
            state.tau_rule,
            gradient=signals.tau_grad,
            confidence=signals.tau_confidence,
            set_point=state.entropy_set_point,
            curvature=statistics.entropy_slope(self.config.entropy_signal),
            measured=measured.entropy,
            target=targets.tau_target_entropy,
            scale=targets.entropy_scale if in_nats else 1.0,
            error=relative_error(measured.entropy, targets.target_entropy, targets.entropy_scale),
        )
        beta = self._apply(
            self._beta_rule,
            state.beta,
            state.beta_rule,
            gradient=None if signals.beta_grad is None else -signals.beta_grad,
            confidence=signals.beta_confidence,
            set_point=state.kl_set_point,
            curvature=None if kl_beta is None else -kl_beta,
            measured=measured.kl,
            target=targets.kl_target,
            scale=targets.kl_scale if in_nats else 1.0,
            error=log_error(measured.kl, targets.target_kl),
        )
        falls_back = in_nats and isinstance(self._objective, TruncatedBackpropControllerObjective)
        events += ("fallback",) * falls_back
        events += tuple(f"tau.{e}" for e in tau.events) + tuple(f"beta.{e}" for e in beta.events)
        moved = replace(state, tau=tau.value, beta=beta.value, tau_rule=tau.rule, beta_rule=beta.rule)
        decision = build_decision(moved, state, Reason.UPDATED, targets, measured, signals, events)
        reason = reason_of_update(decision, tau.events, beta.events)
        return moved, replace(decision, reason=reason, tau_tuning=tau.tuning, beta_tuning=beta.tuning)

    def _apply(
        self,
        rule: UpdateRule,
        value: float,
        rule_state: NestedMemory,
        *,
        gradient: float | None,
        confidence: float,
        set_point: SetPoint,
        curvature: float | None,
        measured: float | None,
        target: float | None,
        scale: float,
        error: float | None,
    ) -> _Moved:
        """One coefficient through its rule, which sees relative errors; without a signal it stays."""
        if gradient is None:
            return _Moved(value, rule_state)
        signal = Signal(
            gradient / (scale * confidence),
            value,
            confidence=confidence,
            target_changed=set_point.began_within(self.config.update_interval),
            curvature=None if curvature is None else curvature / scale,
            measured=measured,
            target=target,
            error=error,
            count=self.config.update_interval,
        )
        signal, new_state = rule.update(signal, rule_state)
        # a user's rule may give other floats
        return _Moved(float(signal.value), new_state, signal.events, signal.tuning)

    def _keep(
        self,
        state: ControllerState,
        reason: Reason,
        targets: Targets,
        measured: Measured,
        events: tuple[str, ...] = (),
    ) -> tuple[ControllerState, Decision]:
        return state, build_decision(state, state, reason, targets, measured, ControllerGradients(), events)

    def _within_bounds(self, name: str, value: float) -> float:
        low, high = self.config.bounds(name)
        return min(max(value, low), high)


def _is_unrolled(gradients: ControllerGradients | None) -> bool:
    return gradients is not None and gradients.sensitivity is not None


def _of_steps(gradients: ControllerGradients | None, steps: int) -> ControllerGradients | None:
    """The workers' gradients of an unroll of so many steps."""
    if gradients is None or gradients.sensitivity is None or gradients.sensitivity.steps == steps:
        return gradients
    return None
