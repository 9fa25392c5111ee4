"""Objective from a trainer's weighting settings, by the attributes of the published API."""

from __future__ import annotations

from typing import Any

from maxent_ray.core.objectives.analytic import AnalyticControllerObjective
from maxent_ray.core.objectives.interface import ControllerObjective, optional_attribute
from maxent_ray.core.objectives.truncated_backprop import TruncatedBackpropControllerObjective
from maxent_ray.errors import UnknownObjectiveError

ANALYTIC_METHODS = ("analytic", "analytic_grad", "potential")
TRUNCATED_METHODS = ("truncated", "truncated_backprop", "backprop", "first_order")


def build_controller_objective(cfg: Any, weighting: Any) -> ControllerObjective | None:
    """Build the objective of ``weighting.controller_meta``, or None when it is missing or not enabled.

    Args:
        cfg: The trainer's config; kept for callers of the published API, not read.
        weighting: Any object; ``controller_meta`` may carry ``enabled``, ``method``, ``truncation_steps`` (if
            unset: ``analytic_steps``) and ``fallback``.

    Raises:
        UnknownObjectiveError: the method is not one of the valid ones, which the message names.

    Example:
        >>> from types import SimpleNamespace as View
        >>> meta = View(enabled=True, method="truncated_backprop", truncation_steps=2)
        >>> build_controller_objective(None, View(controller_meta=meta)).steps
        2
    """
    del cfg
    meta = optional_attribute(weighting, "controller_meta")
    if meta is None or not optional_attribute(meta, "enabled"):
        return None
    method = str(meta.method).lower()
    if method in ANALYTIC_METHODS:
        return AnalyticControllerObjective()
    if method in TRUNCATED_METHODS:
        given = (optional_attribute(meta, name) for name in ("truncation_steps", "analytic_steps"))
        steps = next((value for value in given if value is not None), 1)
        fallback: Any = meta.fallback if hasattr(meta, "fallback") else "analytic"
        return TruncatedBackpropControllerObjective(steps, fallback=fallback)
    valid = ", ".join(ANALYTIC_METHODS + TRUNCATED_METHODS)
    raise UnknownObjectiveError(f"controller_meta.method is {meta.method!r}; valid methods: {valid}")
