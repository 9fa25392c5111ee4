"""The ``exports`` directive: a table of the names that ``maxent_ray`` exports, with links to their descriptions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from markdown import Generated, first_line, table

import maxent_ray


class Exports(Generated):
    """All names, or those of some modules, given as arguments."""

    has_content = False
    required_arguments = 1
    final_argument_whitespace = True

    def lines(self) -> Iterable[str]:
        """One row for each name."""
        modules = tuple(self.arguments[0].split())
        values = {name: getattr(maxent_ray, name) for name in maxent_ray.__all__}
        rows = [
            [f"{{py:obj}}`{name} <{value.__module__}.{name}>`", first_line(value)]
            for name, value in values.items()
            if value.__module__.startswith(modules)
        ]
        return table(["name", "content"], rows)


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("exports", Exports)
    return {"parallel_read_safe": True}
