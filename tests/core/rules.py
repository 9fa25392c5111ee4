"""Update rules of both coefficients at once, for tests that go through all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maxent_ray.core.update_rules import PI, SGD, Adam, Newton, RuleSettings

RULES = {"sgd": SGD, "adam": Adam, "newton": Newton, "pi": PI}
"""Rules that act on the error signal, by type."""


def rules(
    kind: str = "pi", *, tau: Mapping[str, Any] | None = None, beta: Mapping[str, Any] | None = None, **both: Any
) -> dict[str, RuleSettings]:
    """Settings of τ's and of β's rule: what both have, and what one of them has besides."""
    return {"tau_rule": RULES[kind](**both, **(tau or {})), "beta_rule": RULES[kind](**both, **(beta or {}))}
