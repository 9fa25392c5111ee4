"""Lineage of a population: a lane for each trial, an arrow for each clone."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes

from maxent_ray.report.labels import objective_colour, objective_label
from maxent_ray.report.plots import style
from maxent_ray.report.plots.scene import Scene
from maxent_ray.report.plots.style import FAINT, INK
from maxent_ray.report.run_records import RunRecords
from maxent_ray.report.summary import Summary

Stretch = tuple[str, int, int]
"""Trial, from step, to step."""


def draw(scene: Scene) -> Path:
    """Write ``lineage.png``."""
    records, summary = scene.records, scene.summary
    groups = scene.groups(references=False)
    lanes = [trial for group in groups for trial in scene.trials(group.objective)][::-1]
    places = {trial: place for place, trial in enumerate(lanes)}
    result = style.figure(
        "Who took over whose policy?",
        "One lane for each trial. Arrow: a trial replaced its policy by a copy of another's, "
        "with changed settings.\nThick: how the best policy of each objective came about.",
        width=11,
        height=1.9 + 0.42 * max(4, len(lanes)),
    )
    axes = result.subplots()
    best = [group.best_trial for group in groups if group.best_trial in places]
    for trial in lanes:
        _lane(axes, records, trial, places[trial])
    for trial in best:
        for name, start, end in ancestry(records, trial):
            _thick(axes, records, name, places[name], start, end)
    _arrows(axes, records, places)
    _lay_out(axes, summary, lanes)
    _write_scores(axes, summary, lanes, best)
    return style.save(result, records.folder / "lineage.png")


def ancestry(records: RunRecords, trial: str) -> list[Stretch]:
    """Find the stretches of lanes along which the final policy of `trial` was trained, first to last."""
    stretches: list[Stretch] = []
    name, end = trial, records.points[trial][-1].step
    earlier = list(records.clones)
    while True:
        into = [index for index, clone in enumerate(earlier) if clone.recipient == name and clone.step <= end]
        if not into:
            return [(name, 0, end), *stretches]
        clone = earlier[into[-1]]
        stretches.insert(0, (name, clone.step, end))
        name, end, earlier = clone.donor, clone.step, earlier[: into[-1]]
        if name not in records.points:
            return stretches


def _lane(axes: Axes, records: RunRecords, trial: str, place: int) -> None:
    """Draw a thin lane, in the colour of the objective that the trial followed at the time."""
    start = 0
    for objective, points in groupby(records.points[trial], key=lambda point: point.objective):
        end = list(points)[-1].step
        axes.plot(
            [start, end], [place, place], color=objective_colour(objective), linewidth=2, alpha=0.45, zorder=1
        )
        start = end


def _thick(axes: Axes, records: RunRecords, trial: str, place: int, start: int, end: int) -> None:
    inside = [point for point in records.points[trial] if start < point.step <= end]
    for objective, points in groupby(inside, key=lambda point: point.objective):
        stop = list(points)[-1].step
        axes.plot(
            [start, stop],
            [place, place],
            color=objective_colour(objective),
            linewidth=6.5,
            solid_capstyle="butt",
            zorder=2,
        )
        start = stop


def _arrows(axes: Axes, records: RunRecords, places: dict[str, int]) -> None:
    for clone in records.clones:
        if clone.donor not in places or clone.recipient not in places:
            continue
        donor, recipient = places[clone.donor], places[clone.recipient]
        axes.annotate(
            "",
            xy=(clone.step, recipient),
            xytext=(clone.step, donor),
            arrowprops={
                "arrowstyle": "-|>",
                "color": INK,
                "linewidth": 1.4,
                "mutation_scale": 14,
                "connectionstyle": "arc3,rad=0.25",
                "shrinkA": 4,
                "shrinkB": 3,
            },
            zorder=4,
        )
        axes.plot(clone.step, donor, "o", color=INK, markersize=5, zorder=4)


def _lay_out(axes: Axes, summary: Summary, lanes: list[str]) -> None:
    style.style(axes, grid="x")
    style.label_x(axes, "policy step")
    axes.set_ylim(-0.7, max(1, len(lanes)) - 0.3)
    axes.set_yticks(range(len(lanes)), lanes, fontsize=10.5)
    for tick, lane in zip(axes.get_yticklabels(), lanes, strict=True):
        tick.set_color(objective_colour(summary.trial(lane).objective))
    axes.set_xlim(0, max((summary.trial(lane).steps for lane in lanes), default=1))
    if not lanes:
        style.say(axes, "no steps recorded yet")
    elif not summary.clones:
        axes.text(0.5, 1.01, "no clones so far", transform=axes.transAxes, ha="center", color=FAINT, fontsize=11)


def _write_scores(axes: Axes, summary: Summary, lanes: list[str], best: list[str]) -> None:
    """Write the training scores beside the lanes, and their name above them."""
    for place, lane in enumerate(lanes):
        trial = summary.trial(lane)
        score = "" if trial.score is None else f"{trial.score:.3f}"
        axes.annotate(
            f"{score}  best of {objective_label(trial.objective)}" if lane in best else score,
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=10.5,
            color=objective_colour(trial.objective),
            fontweight="bold" if lane in best else "normal",
        )
    axes.annotate(
        f"training {summary.score_label}, last {summary.window} steps",
        (1.01, 1.0),
        xycoords="axes fraction",
        va="bottom",
        fontsize=10,
        color=FAINT,
        annotation_clip=False,
    )
