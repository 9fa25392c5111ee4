"""Held-out metrics of every objective and reference, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.evaluation.metric_intervals import Estimate
from maxent_ray.report.labels import BASELINE, objective_colour, objective_label
from maxent_ray.report.objective_summary import ObjectiveSummary
from maxent_ray.report.plots import style
from maxent_ray.report.plots.scene import Scene
from maxent_ray.report.summary import Summary


def draw(scene: Scene) -> Path:
    """Write ``held_out.png``."""
    summary = scene.summary
    shown = [objective for objective in reversed(summary.objectives) if objective.held_out is not None]
    result = style.figure(
        "How good, and how diverse, is the policy on prompts it was not trained on?",
        "Dot: the best trial (chosen on training prompts). Line: its 95 % interval over held-out prompts. "
        "Circles: other trials.\nDashed line: plain GRPO. Further right is better. "
        "A policy that has only one way left to answer keeps its mean and loses the rest.",
        width=13,
        height=2.2 + 0.52 * max(4, len(shown)),
    )
    grid = result.subplots(1, len(METRICS), sharey=True, squeeze=False)[0]
    for axes, metric in zip(grid, METRICS, strict=True):
        _panel(axes, summary, shown, metric)
    grid[0].set_yticks(range(len(shown)), [objective_label(o.objective) for o in shown], fontsize=11.5)
    for tick, objective in zip(grid[0].get_yticklabels(), shown, strict=True):
        tick.set_color(objective_colour(objective.objective))
        tick.set_fontweight("bold")
    if not shown:
        style.say(grid[0], "no trial\nevaluated yet")
    return style.save(result, scene.records.folder / "held_out.png")


def _panel(axes: Axes, summary: Summary, shown: Sequence[ObjectiveSummary], metric: str) -> None:
    style.style(axes, grid="x")
    style.heading(axes, summary.held_out_metrics[metric])
    for place, objective in enumerate(shown):
        colour = objective_colour(objective.objective)
        for trial in objective.finished:
            other = summary.trial(trial).held_out
            value = None if other is None else other[metric].value
            if trial != objective.best_trial and value is not None:
                axes.plot(value, place - 0.22, "o", markersize=5, mfc="none", mec=colour, alpha=0.8)
        if objective.held_out is not None:
            _estimate(axes, objective.held_out[metric], place, colour, dashed=objective.objective == BASELINE)
    axes.set_ylim(-0.6, max(1, len(shown)) - 0.3)


def _estimate(axes: Axes, estimate: Estimate, place: int, colour: str, *, dashed: bool) -> None:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return
    if dashed:
        axes.axvline(estimate.value, color=colour, linewidth=1, linestyle="--", alpha=0.7, zorder=0)
    axes.plot(
        [estimate.low, estimate.high], [place, place], color=colour, linewidth=2.5, solid_capstyle="round"
    )
    axes.plot(estimate.value, place, "o", markersize=9, color=colour)
    axes.annotate(
        f"{estimate.value:.2f}",
        (estimate.value, place),
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        fontsize=10.5,
        color=colour,
        fontweight="bold",
        path_effects=[withStroke(linewidth=4, foreground="white")],
    )
