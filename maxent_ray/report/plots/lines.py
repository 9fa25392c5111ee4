"""Lines over steps: values of one trial, smoothed, and how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes


@dataclass(frozen=True)
class Line:
    """One quantity of one trial over its steps; nan where it is unknown."""

    trial: str
    steps: list[int]
    values: list[float]
    clone_steps: tuple[int, ...] = ()
    """Steps at which the trial took over another's policy."""

    def marks(self) -> tuple[list[int], list[float]]:
        """Points of the line at which the trial was cloned, those that the line does not reach left out."""
        known = dict(zip(self.steps, self.values, strict=True))
        steps = [step for step in self.clone_steps if step in known]
        return steps, [known[step] for step in steps]


def draw_trial(axes: Axes, line: Line, colour: str, *, emphasised: bool) -> None:
    """Draw one trial: a line, and a triangle wherever it took over another's policy."""
    width, alpha = (2.8, 1.0) if emphasised else (1.1, 0.6)
    axes.plot(
        line.steps, line.values, color=colour, linewidth=width, alpha=alpha, zorder=3 if emphasised else 2
    )
    axes.plot(*line.marks(), "^", color=colour, markersize=9, markeredgecolor="white", zorder=4)


def smooth(values: Sequence[float | None], window: int) -> list[float]:
    """Trailing mean over `window` steps of the values that are known; nan where none is.

    Example:
        >>> smooth([1.0, 3.0, None, 5.0], window=2)
        [1.0, 2.0, 3.0, 5.0]
    """
    result = []
    for end in range(1, len(values) + 1):
        known = [value for value in values[max(0, end - window) : end] if value is not None]
        result.append(sum(known) / len(known) if known else float("nan"))
    return result
