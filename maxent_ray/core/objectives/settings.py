"""Settings of the objectives: a union on ``type``, each member declaring its own and building its objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from maxent_ray import plugins
from maxent_ray.core.objectives.analytic import Analytic
from maxent_ray.core.objectives.decoupled import Decoupled
from maxent_ray.core.objectives.interface import ControllerObjective
from maxent_ray.core.objectives.joint import Joint
from maxent_ray.core.objectives.paired import Paired
from maxent_ray.core.objectives.settings_base import Loops, ObjectiveBase, Unroll
from maxent_ray.errors import ConfigError

RESERVED_NAMES = ("analytic", "truncated_backprop", "custom", "warm_start", "grpo", "fixed")
"""Names in rows and tables that objectives of users cannot have."""


@dataclass(frozen=True, kw_only=True)
class TruncatedBackprop(ObjectiveBase):
    """Settings of truncated backprop.

    Example:
        >>> TruncatedBackprop(unroll=Unroll(steps=2), form=Joint()).unroll.steps
        2
    """

    type: Literal["truncated_backprop"] = "truncated_backprop"
    unroll: Unroll = Unroll()
    form: Paired | Joint | Decoupled = Paired()
    """From sensitivities to the two signals."""
    fallback: Literal["analytic"] | None = None
    """Reaction to a step without usable gradients: null skips the update."""

    @property
    def steps_itself(self) -> bool:
        """True for a form whose signals are steps."""
        return self.form.steps_itself

    @property
    def signals_are_relative(self) -> bool:
        """True for a form whose signals are relative errors."""
        return self.form.signals_are_relative

    def check(self, loops: Loops) -> None:
        """Raise ConfigError for a value out of range, or one that does not fit the loops."""
        for name, value, kinds in (("unroll", self.unroll, (Unroll,)), ("form", self.form, (Paired, Joint, Decoupled))):
            if not isinstance(value, kinds):
                valid = ", ".join(f"{kind.__name__}()" for kind in kinds)
                raise ConfigError(f"objective.{name} is {value!r}; valid: {valid}")
        super().check(loops)
        if self.fallback not in ("analytic", None):
            raise ConfigError(f"objective.fallback is {self.fallback!r}; valid: analytic, or null")
        self.form.check(loops, self.fallback)

    def build(self, loops: Loops) -> ControllerObjective:
        """Build the objective."""
        return self.form.build(loops, self.unroll.steps, self.fallback)

    def why_at_rest(self, coefficient: str, share: float, tied_share: float) -> str:
        """Explain a coefficient that has a signal and does not move."""
        return self.form.why_at_rest(coefficient, share, tied_share)


@dataclass(frozen=True, kw_only=True)
class CustomObjective(ObjectiveBase):
    """An objective of your own: a class or function that gives a ControllerObjective.

    User code is imported where it is run, not where settings are read.

    Example:
        >>> from maxent_ray import Controller, ControllerConfig
        >>> mine = CustomObjective(import_path="maxent_ray.core.objectives:AnalyticControllerObjective")
        >>> Controller(ControllerConfig(group_size=8, target_entropy=1.9, objective=mine)).init().objective
        {'analytic': {}}
    """

    type: Literal["custom"] = "custom"
    import_path: str
    """``package.module:Class``."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Its arguments."""
    name: str = ""
    """Name in rows and tables; empty: the last part of the import path."""
    unroll: Unroll | None = None
    """Unroll that workers do on update steps; null: none."""

    @property
    def label(self) -> str:
        """Name in rows and tables."""
        return self.name or self.import_path.rpartition(":")[2]

    def check(self, loops: Loops) -> None:
        """Raise ConfigError for a value out of range."""
        super().check(loops)
        plugins.check_kwargs(self.kwargs, "objective.kwargs")
        if self.name in RESERVED_NAMES:
            raise ConfigError(f"objective.name is {self.name!r}, a name of the package; choose another one")

    def build(self, loops: Loops) -> ControllerObjective:
        """Build the objective.

        Raises:
            ConfigError: it cannot be imported or called, or is no ControllerObjective.
        """
        where = "controller.objective.import_path"
        objective = plugins.call(self.import_path, self.kwargs, where)
        if not isinstance(objective, ControllerObjective):
            found = type(objective).__name__
            raise ConfigError(f"{where} is {self.import_path!r}, which gives {found}, no ControllerObjective")
        return objective


ObjectiveSettings: TypeAlias = Analytic | TruncatedBackprop | CustomObjective
"""All objectives that settings can name; a new one is a class with its settings, and its name here."""
