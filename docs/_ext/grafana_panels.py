"""The ``grafana-panels`` directive: a table of the panels of the shipped Grafana dashboard."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from markdown import Generated, table

from maxent_ray.dashboard.grafana.panels import SECTIONS


class GrafanaPanels(Generated):
    """One line for each panel."""

    def lines(self) -> Iterable[str]:
        """The table."""
        rows = [[section.title, panel.title, panel.description] for section in SECTIONS for panel in section.panels]
        yield from table(["section", "panel", "what it shows"], rows)


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("grafana-panels", GrafanaPanels)
    return {"parallel_read_safe": True}
