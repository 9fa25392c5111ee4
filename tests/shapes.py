"""Shapes and dtypes of tensors, checked at every call in a test: jaxtyping's import hook with beartype."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

PACKAGE = Path(__file__).resolve().parents[1] / "maxent_ray"
SHAPE = re.compile(r"\w\[Tensor, ")
_IMPORT = re.compile(r"^from jaxtyping import ", re.MULTILINE)
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for type checkers


def modules_with(text: re.Pattern[str]) -> list[str]:
    """Modules of the package in whose source a pattern is found."""
    paths = [path for path in PACKAGE.rglob("*.py") if text.search(path.read_text(encoding="utf-8"))]
    return [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check arguments and result of a function or dataclass that names shapes; leave all others alone."""
    annotations = map(str, function.__annotations__.values())
    return _check(function) if any(map(SHAPE.search, annotations)) else function


def enforce_shapes() -> None:
    """Check the modules that import jaxtyping, from their own import on.

    Chosen by their source, because jaxtyping caches bytecode by it: a changed choice would find the old one.
    """
    install_import_hook(modules_with(_IMPORT), f"{__name__}.{check_shapes.__name__}")
