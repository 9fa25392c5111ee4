"""The ``logged-signals`` directive: a table of the fields of ``rows.jsonl``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from markdown import Generated, table

from maxent_ray.core.signals import SIGNALS


class LoggedSignals(Generated):
    """One line for each logged signal."""

    def lines(self) -> Iterable[str]:
        """The table."""
        rows = [
            [f"`{signal.name}`", signal.unit, signal.description, f"`maxent_{signal.name}`" if signal.exporter else ""]
            for signal in SIGNALS
        ]
        yield from table(["field", "unit", "meaning", "Prometheus metric"], rows)


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("logged-signals", LoggedSignals)
    return {"parallel_read_safe": True}
