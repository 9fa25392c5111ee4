"""maxent_ray: a Ray-native meta-controller that keeps entropy and KL of a policy on target while it trains.

Names load on first use, so that ``import maxent_ray`` and ``maxent_ray.core`` need neither Ray nor transformers. They
are listed once, in ``__init__.pyi``, which type checkers read as well. The packages ``maxent_ray.rllib`` and
``maxent_ray.integrations`` load on first use too.

Example:
    >>> from maxent_ray import Controller, ControllerConfig
    >>> Controller(ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05)).init().version
    0
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"


def _exports() -> dict[str, str]:
    """Module of each public name, from the imports in the stub beside this file."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


_EXPORTS = _exports()
_PACKAGES = {name for name, module in _EXPORTS.items() if module == __name__}
"""Not in ``__all__``: they need what is optional."""
__all__ = sorted({*_EXPORTS} - _PACKAGES)


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    if name not in _EXPORTS:
        raise AttributeError(f"module 'maxent_ray' has no attribute {name!r}; it exports {', '.join(__all__)}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
