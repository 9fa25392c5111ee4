"""A KL coefficient with the interface of Ziegler's adaptive controller, as OpenRLHF, verl and SkyRL call it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.diagnostics.observer import Observer, ObserverState
from maxent_ray.core.field_types import shown
from maxent_ray.core.numbers import exact_number
from maxent_ray.core.state import ControllerState
from maxent_ray.core.statistics import BatchStatistics, KlReference
from maxent_ray.core.update_rules.loop import Response
from maxent_ray.core.update_rules.settings import RuleSettings
from maxent_ray.core.validation import check_whole, read_dataclass, to_plain
from maxent_ray.errors import ConfigError, InvalidReportError
from maxent_ray.runtime.decision_log import DecisionLog

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Memory:
    """Everything that a checkpoint needs."""

    state: ControllerState
    alarms: ObserverState


class TargetKLController:
    """A KL coefficient that holds a measured KL at a target, in the place of a trainer's ``AdaptiveKLController``.

    The trainer reads ``value`` and calls ``update`` once a batch. Both may be named as OpenRLHF, verl, SkyRL and TRL's
    former PPO name them, so the class can also take the place of theirs. Not for several threads at once.

    Args:
        init_kl_coef: Initial β.
        target: KL*, > 0, in the units of the KL that ``update`` is given (nats per token, or per sequence).
        horizon: Accepted for callers that pass it, and not used: Ziegler's step grows by n/horizon with the samples of
            a batch, this one follows from how KL answers, a batch at a time.
        target_kl: Another name of ``target``.
        bounds: Of β, both > 0.
        kl_reference: What KL is measured against: ``frozen_policy``, or ``behaviour_policy``, the one that sampled the
            batch.
        response: Time in which KL answers to β; None: ``slow`` against a frozen policy, ``fast`` against the behaviour
            policy. ``auto`` finds it out in training.
        rule: Rule in place of the one that ``response`` gives, such as
            :class:`~maxent_ray.core.update_rules.AdaptiveKL`.
        update_interval: Calls of ``update`` between two moves of β; the KL values between are averaged, each weighted
            by its ``n_steps``.
        warmup_steps: First calls of ``update`` that move nothing.

    Raises:
        ConfigError: an argument is out of range; names it.

    Example:
        >>> kl_ctl = TargetKLController(0.1, target=0.05)
        >>> kl_ctl.update(0.06, n_steps=512)
        >>> kl_ctl.value > 0.1, str(kl_ctl.last_decision["reason"])
        (True, 'updated')

    Source: interface of Ziegler et al. 2019, "Fine-tuning language models from human preferences", section 2.2.
    """

    def __init__(
        self,
        init_kl_coef: float,
        target: float | None = None,
        horizon: float | None = None,
        *,
        target_kl: float | None = None,
        bounds: tuple[float, float] = (1e-4, 100.0),
        kl_reference: KlReference = "frozen_policy",
        response: Response | None = None,
        rule: RuleSettings | None = None,
        update_interval: int = 1,
        warmup_steps: int = 0,
    ) -> None:
        if (target is None) == (target_kl is None):
            raise ConfigError(f"target is {target} and target_kl is {target_kl}; give one of the two")
        if response not in (None, *get_args(Response)):
            raise ConfigError(f"response is {response!r}; valid: {', '.join(get_args(Response))}")
        low, high = _checked_bounds(bounds)
        name, given = ("target", target) if target_kl is None else ("target_kl", target_kl)
        self._config = ControllerConfig(
            beta=_number("init_kl_coef", init_kl_coef, low, high),
            target_kl=_number(name, given),
            beta_min=low,
            beta_max=high,
            kl_reference=kl_reference,
            kl_response=response,
            beta_rule=rule,
            update_interval=update_interval,
            warmup_steps=warmup_steps,
        )
        if horizon is not None:
            in_force, given = self._config.response("beta"), _number("horizon", horizon)
            logger.info("horizon = %g is not used: steps follow from response = %r", given, in_force)
        self._decisions = DecisionLog()
        self._build()
        self._memory = _Memory(self._controller.init(), ObserverState())

    @property
    def value(self) -> float:
        """β, for the next batch."""
        return self._memory.state.beta

    @property
    def target(self) -> float:
        """KL*."""
        return self._config.target_kl

    @property
    def bounds(self) -> tuple[float, float]:
        """Bounds of β."""
        return self._config.bounds("beta")

    @property
    def last_decision(self) -> dict[str, Any] | None:
        """The newest decision, with its reason and alarms; None before the first."""
        return self._decisions.last

    def decisions(self, since_version: int = 0) -> list[dict[str, Any]]:
        """Decisions with a version above ``since_version``, oldest first; the last 1000 are kept."""
        return self._decisions.since(since_version)

    def update(self, current_kl: Any = None, n_steps: Any = 1, *, current: Any = None) -> None:
        """Take in the KL of one batch and move β.

        Args:
            current_kl: KL of the batch: a number of any library, such as a 0-dim tensor. If it is not finite, β and
                every average stay as they are, with the reason ``non_finite``.
            n_steps: Samples that it is a mean over, ≥ 1: its weight where ``update_interval`` is above 1.
            current: Another name of ``current_kl``.

        Raises:
            InvalidReportError: an argument is no number, or ``n_steps`` no whole one; names it. β stays as it is.
        """
        if (current_kl is None) == (current is None):
            raise InvalidReportError("give one of current_kl and current, the KL of the batch")
        name, given = ("current_kl", current_kl) if current is None else ("current", current)
        kl, count = exact_number(given), check_whole(n_steps, "n_steps", InvalidReportError)
        if kl is None:
            raise InvalidReportError(f"{name} is {shown(given)}; it must be a number, the mean KL of the batch")
        if count < 1:
            raise InvalidReportError(f"n_steps is {count}; it must be >= 1, the samples of the batch")
        measured = BatchStatistics(tokens=count, policy_kl_sum=kl * count)
        state, decision = self._controller.step(self._memory.state, measured)
        observed, alarms = self._observer.observe(self._memory.alarms, decision)
        self._decisions.add(decision, alarms)
        self._memory = _Memory(state, observed)

    def state_dict(self) -> dict[str, Any]:
        """Everything a checkpoint needs, ready for JSON. Settings and past decisions are not in it."""
        return to_plain(self._memory)

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Resume from a checkpoint. Settings stay this controller's own: β is brought inside its bounds.

        Raises:
            InvalidReportError: the state is malformed; names the first invalid entry. Nothing was loaded.

        Example:
            >>> first, second = TargetKLController(0.1, 0.05), TargetKLController(0.2, 0.05)
            >>> first.update(0.1, 512)
            >>> second.load_state_dict(first.state_dict())
            >>> second.value == first.value
            True
        """
        saved = read_dataclass(_Memory, values, "KL controller state")
        self._memory = _Memory(self._controller.adopt(saved.state), saved.alarms)
        self._decisions.forget_after(saved.state.version)

    def __getstate__(self) -> dict[str, Any]:
        """Settings, state and decisions: rules are functions, which pickle does not take."""
        return {name: vars(self)[name] for name in ("_config", "_memory", "_decisions")}

    def __setstate__(self, values: dict[str, Any]) -> None:
        vars(self).update(values)
        self._build()

    def _build(self) -> None:
        self._controller, self._observer = Controller(self._config), Observer(self._config)


def _number(name: str, value: Any, low: float = 0.0, high: float = math.inf) -> float:
    """A finite number above 0 and inside the bounds."""
    number = exact_number(value)
    if number is None or not (0 < number < math.inf and low <= number <= high):
        valid = "a finite number > 0" if high == math.inf else f"in bounds = ({low:g}, {high:g})"
        raise ConfigError(f"{name} is {shown(value)}; it must be {valid}")
    return float(number)


def _checked_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = bounds
    except (TypeError, ValueError):
        valid = "a pair of numbers, the least and the largest β"
        raise ConfigError(f"bounds is {shown(bounds)}; it must be {valid}") from None
    least, largest = _number("bounds[0]", low), _number("bounds[1]", high)
    if least > largest:
        raise ConfigError(f"bounds is ({least:g}, {largest:g}); the least β comes first")
    return least, largest
