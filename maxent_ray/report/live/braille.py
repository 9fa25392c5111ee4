"""Curves of braille dots, two columns and four rows of them in a letter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from rich.text import Text

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Row and column of a dot in a letter → its bit above U+2800."""
_BLANK = 0x2800
_FLAT = 1e-6
"""Relative range below which a curve is flat: averages differ by rounding."""


def curve(
    values: Sequence[float | None],
    target: Sequence[float | None],
    width: int,
    height: int,
    *,
    colour: str,
    log: bool = False,
) -> list[Text]:
    """Draw a curve over its target, which is dim; the newest value is at the right.

    Args:
        values: In order; None where there is none.
        target: As long, or empty.
        width: Letters.
        height: Lines.
        colour: Of the curve.
        log: Draw logarithms; values that have none are left out.

    Returns:
        ``height`` lines.

    Example:
        >>> [line.plain for line in curve([0.0, 1.0, 2.0, 3.0], [], 2, 1, colour="blue")]
        ['⡠⠊']
    """
    scaled = [[_scaled(value, log=log) for value in _fitted(each, 2 * width)] for each in (values, target)]
    known = [value for each in scaled for value in each if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    span = high - low if high - low > _FLAT * abs(high) else 0.0
    above, below = ([[0] * width for _ in range(height)] for _ in range(2))
    for cells, each in zip((above, below), scaled, strict=True):
        for column, value in enumerate(each):
            if value is not None:
                share = 0.5 if span <= 0 else (value - low) / span
                row = min(int((1 - share) * (4 * height - 1) + 0.5), 4 * height - 1)
                cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
    return [_line(own, under, colour) for own, under in zip(above, below, strict=True)]


def _line(own: Sequence[int], under: Sequence[int], colour: str) -> Text:
    line = Text(no_wrap=True)
    for dots, dim in zip(own, under, strict=True):
        line.append(chr(_BLANK | dots | dim), style=colour if dots else "dim")
    return line


def _fitted(values: Sequence[float | None], columns: int) -> list[float | None]:
    """One value a column: of more values, means; fewer are spread."""
    if not values:
        return []
    edges = [len(values) * column // columns for column in range(columns + 1)]
    fitted: list[float | None] = []
    for start, end in pairwise(edges):
        known = [value for value in values[start : max(end, start + 1)] if value is not None]
        fitted.append(sum(known) / len(known) if known else None)
    return fitted


def _scaled(value: float | None, *, log: bool) -> float | None:
    if value is None or not log:
        return value
    return math.log(value) if value > 0 else None
