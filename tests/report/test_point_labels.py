"""Names of points that lie close together: what must be there is there, and readable."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

from matplotlib.text import Annotation

from maxent_ray.report.plots import style
from maxent_ray.report.plots.point_labels import PointLabel, label_points


class Written(NamedTuple):
    """What a plot shows."""

    names: list[Annotation]
    lines: int
    """From names that are away to their points."""


def written(*, close: int, optional: bool) -> Written:
    """Name several points that are one, in the middle of an empty plot."""
    figure = style.figure("title", "subtitle", width=8, height=6)
    axes = figure.subplots()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    labels = [PointLabel(f"arm_{i}", 0.5, 0.5, "black", bold=True, optional=optional) for i in range(close)]
    label_points(figure, axes, labels)
    figure.draw_without_rendering()
    notes = [child for child in axes.get_children() if isinstance(child, Annotation)]
    names = [note for note in notes if note.get_text()]
    return Written(names, len(notes) - len(names))


def test_names_that_must_be_there_go_away_from_a_crowd_and_cover_no_other() -> None:
    names, lines = written(close=9, optional=False)
    assert sorted(name.get_text() for name in names) == [f"arm_{i}" for i in range(9)]
    boxes = [name.get_window_extent() for name in names]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert lines == 5  # four stand in the corners of their point


def test_names_that_must_be_there_are_there_where_nothing_is_free() -> None:
    assert len(written(close=60, optional=False).names) == 60


def test_names_that_may_be_left_out_stand_beside_their_point_or_not_at_all() -> None:
    names, lines = written(close=9, optional=True)
    assert len(names) == 4
    assert lines == 0
