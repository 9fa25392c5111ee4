"""Names beside points, put where they cover neither another name nor a point."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

_BESIDE = 7
"""Offset of a name from its point, across and up, in typographic points."""
_AWAY = (22, 40, 60, 85, 115)
"""Further offsets, for a name that must be there: with a line to its point."""
_DOT = 6
"""Pixels around the middle of a point that names keep free."""
_CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
"""Directions from a point in which its name may stand, the best one first."""


class PointLabel(NamedTuple):
    """Name of a point."""

    text: str
    x: float
    y: float
    colour: str
    bold: bool
    optional: bool
    """Left out where it would cover another."""


def label_points(figure: Figure, axes: Axes, labels: Sequence[PointLabel]) -> None:
    """Write names, earlier ones first: each in the first corner that is free.

    Where none is, an optional name is left out. Another goes further away, with a line to its point, and to the first
    corner of all if nothing is free there either.

    Args:
        figure: Laid out here, so that the size of a name is known.
        axes: Whose limits are final.
        labels: Of the points.
    """
    figure.draw_without_rendering()
    middles = (axes.transData.transform((label.x, label.y)) for label in labels)
    taken = [Bbox.from_extents(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in middles]
    for label in sorted(labels, key=lambda label: label.optional):
        text = _write_where_free(axes, label, taken)
        if text is None and not label.optional:
            text = _write(axes, label, _CORNERS[0], _BESIDE)
        if text is not None:
            taken.append(text.get_window_extent())


def _write_where_free(axes: Axes, label: PointLabel, taken: Sequence[Bbox]) -> Annotation | None:
    for offset, corner in product((_BESIDE,) if label.optional else (_BESIDE, *_AWAY), _CORNERS):
        text = _write(axes, label, corner, offset)
        if _is_free(axes, text.get_window_extent(), taken):
            if offset != _BESIDE:
                _join(axes, label, corner, offset)
            return text
        text.remove()
    return None


def _join(axes: Axes, label: PointLabel, corner: tuple[int, int], offset: int) -> None:
    """Draw a line from a point to its name."""
    axes.annotate(
        "",
        (label.x, label.y),
        xytext=(offset * corner[0], offset * corner[1]),
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": label.colour, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 4},
    )


def _is_free(axes: Axes, box: Bbox, taken: Sequence[Bbox]) -> bool:
    inside = axes.bbox.fully_contains(box.x0, box.y0) and axes.bbox.fully_contains(box.x1, box.y1)
    return inside and not any(box.overlaps(other) for other in taken)


def _write(axes: Axes, label: PointLabel, corner: tuple[int, int], offset: int) -> Annotation:
    right, up = corner
    return axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=(offset * right, offset * up),
        textcoords="offset points",
        ha="left" if right > 0 else "right",
        va="bottom" if up > 0 else "top",
        fontsize=9.5 if label.bold else 8.5,
        fontweight="bold" if label.bold else "normal",
        color=label.colour,
        zorder=4,
        path_effects=[withStroke(linewidth=3, foreground="white")],
    )
