"""Settings of a rule of the user's own, by import path, and checks of what its code returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from maxent_ray import plugins
from maxent_ray.core.update_rules.base import RuleState, Signal, UpdateRule, check_finite
from maxent_ray.core.update_rules.loop import Loop
from maxent_ray.errors import ConfigError, InvalidReportError


@dataclass(frozen=True, kw_only=True)
class CustomRule:
    """A rule of your own: a function that returns an :class:`~maxent_ray.core.update_rules.UpdateRule`.

    Example:
        >>> from maxent_ray.core.update_rules.settings import build_rule
        >>> settings = CustomRule(import_path="maxent_ray.core.update_rules:sgd", kwargs={"learning_rate": 0.1})
        >>> rule = build_rule(settings, Loop("tau", "weight_entropy", 1e-3, 100.0))
        >>> round(rule.update(Signal(gradient=0.2, value=0.3), rule.init(0.3))[0].value, 6)
        0.28
    """

    type: Literal["custom"] = "custom"
    reads_measurement: ClassVar[bool] = False
    import_path: str
    """``package.module:function``."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Its arguments."""

    def check(self, loop: Loop) -> None:
        """Check the arguments. User code is imported where it is run, not where settings are read."""
        plugins.check_kwargs(self.kwargs, f"{loop.field}.kwargs")

    def parts(self, loop: Loop) -> dict[str, UpdateRule]:
        """Links of the chain.

        Raises:
            ConfigError: the function cannot be imported or called, or does not return an update rule.
        """
        where = f"controller.{loop.field}.import_path"
        rule = plugins.call(self.import_path, self.kwargs, where)
        if not isinstance(rule, UpdateRule):
            given = f"it returns {type(rule).__name__}, not UpdateRule(init, update)"
            raise ConfigError(f"{where} is {self.import_path!r}, which is no update rule: {given}")
        try:
            check_finite("", {"state": dict(rule.init(1.0))}, "a mapping of finite numbers")
        except Exception as error:
            raise ConfigError(f"{where} is {self.import_path!r}: its init(value) fails: {error}") from error
        return {"step": UpdateRule(rule.init, self._checked(rule))}

    def _checked(self, rule: UpdateRule) -> Callable[[Signal, RuleState], tuple[Signal, RuleState]]:
        """The rule's update, with a check of what user code returns."""

        def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
            result: object = rule.update(signal, state)
            match result:
                case (Signal() as proposed, Mapping() as following):
                    return proposed, following
            raise InvalidReportError(f"{self.import_path}: update returned {result!r}, must be (Signal, state)")

        return update

    def why_at_rest(self, loop: Loop, in_dead_band: bool) -> str:
        """Explain a coefficient that has a signal and does not move."""
        return f"the steps of {self.import_path} are too small"
