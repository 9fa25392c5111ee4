"""Accuracy beside diversity over training: whether one rises at the cost of the other."""

from __future__ import annotations

from pathlib import Path

from maxent_ray.report.labels import metric_label
from maxent_ray.report.plots import style
from maxent_ray.report.plots.averages import READING, SMOOTHING, draw_averages
from maxent_ray.report.plots.scene import Scene


def draw(scene: Scene) -> Path:
    """Write ``diversity.png``."""
    samples = scene.summary.group_size or 0
    result = style.figure(
        "Does the policy keep its different answers while it gets better?",
        f"On training prompts, mean of {SMOOTHING} steps. {READING}",
        width=12,
        height=5.2,
    )
    left, right = result.subplots(1, 2)
    style.heading(left, f"{metric_label('coverage', samples)}: share of all solutions found")
    style.heading(right, f"{metric_label('mean', samples)}: share of answers that are correct")
    draw_averages(scene, result, [(left, "coverage"), (right, "reward")])
    return style.save(result, scene.records.folder / "diversity.png")
