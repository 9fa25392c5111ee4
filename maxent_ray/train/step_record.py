"""The record of one step of one rank: a row of ``rows.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maxent_ray.core import signals
from maxent_ray.core.signals import Value
from maxent_ray.errors import MaxentRayError
from maxent_ray.storage.json_lines import strict


@dataclass(frozen=True)
class StepRecord:
    """One step of one rank, with a value for each logged signal; signals read like fields: ``record.tau``."""

    step: int
    rank: int
    objective: str
    """analytic | truncated_backprop | fixed | grpo, or the name of a user's own objective."""
    signals: Mapping[str, Value]
    """Every signal of :data:`maxent_ray.core.signals.SIGNALS`."""

    def __getattr__(self, name: str) -> Any:
        """Value of a signal."""
        if name == "signals" or name not in self.signals:  # `signals` itself is missing while a record is unpickled
            raise AttributeError(name)
        return self.signals[name]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready and flat: a number that is not finite becomes None."""
        record: dict[str, Any] = strict(
            {"step": self.step, "rank": self.rank, "objective": self.objective, **self.signals}
        )
        return record


def signal_values(measured: Mapping[str, Value], decision: Mapping[str, Any] | None) -> dict[str, Value]:
    """Collect a value for each signal of the table.

    Args:
        measured: The worker's own values.
        decision: The newest decision that the rank knows of, whose fields are the values of all other signals; None
            before the first.

    Raises:
        MaxentRayError: a value was measured that is no signal, or a signal has no value.
    """
    names = [signal.name for signal in signals.SIGNALS]
    needed = [signal.name for signal in signals.signals_of("groups")]
    if unknown := sorted(measured.keys() - set(names)):
        raise MaxentRayError(f"measured {', '.join(unknown)}, which core/signals.py does not list")
    known = measured if decision is None else {**decision, **measured}
    missing = [name for name in needed if name not in known]
    if missing and decision is not None:
        raise MaxentRayError(f"core/signals.py lists {', '.join(missing)}; neither worker nor decision has a value")
    return {name: known.get(name) for name in names}
