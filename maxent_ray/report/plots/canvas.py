"""Figures for files: drawn by Agg in matplotlib's own style, whatever backend and style the user has chosen."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

BACKEND = "MPLBACKEND"


def import_matplotlib() -> None:
    """Import matplotlib, also where ``MPLBACKEND`` names a backend that this process does not have.

    A notebook sets it for all programs that are started from it, and matplotlib then refuses to be imported. Files need
    no backend. One that works is left alone, since a notebook that imports us may draw with it.

    Example:
        >>> import_matplotlib()
    """
    if "matplotlib" in sys.modules:
        return
    chosen = os.environ.pop(BACKEND, None)  # an import that failed half-way could not be repeated
    try:
        import matplotlib
    finally:
        if chosen is not None:
            os.environ[BACKEND] = chosen
    if chosen:
        with suppress(ValueError):  # there is none of that name
            matplotlib.rcParams["backend"] = chosen


import_matplotlib()

import matplotlib as mpl  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


def agg_figure(**options: Any) -> Figure:
    """Make a figure that is drawn by Agg and that pyplot does not know of.

    Args:
        **options: Arguments of matplotlib's ``Figure``.

    Example:
        >>> type(agg_figure(figsize=(4, 3)).canvas).__name__
        'FigureCanvasAgg'
    """
    figure = Figure(**options)
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def plain_style() -> Iterator[None]:
    """Draw with matplotlib's defaults inside the block, whose user may have set LaTeX, fonts or a style of his own.

    Example:
        >>> mpl.rcParams["font.size"] = 30
        >>> with plain_style():
        ...     mpl.rcParams["font.size"]
        10.0
        >>> mpl.rcParams["font.size"]
        30.0
        >>> mpl.rcdefaults()
    """
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # names in any script: a box stands there
        mpl.rcdefaults()
        yield
