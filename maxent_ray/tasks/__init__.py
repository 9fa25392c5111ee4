"""Tasks: prompts to train and to evaluate on, with exact graders."""

from maxent_ray.tasks.base import (
    BatchTask,
    ChatTask,
    Grade,
    ModeTask,
    Prompt,
    Task,
    draw,
    rank_share,
    tells_modes,
)
from maxent_ray.tasks.countdown import Countdown, CountdownSmall
from maxent_ray.tasks.graph_coloring import GraphColoring
from maxent_ray.tasks.registry import build_task

__all__ = [
    "BatchTask",
    "ChatTask",
    "Countdown",
    "CountdownSmall",
    "Grade",
    "GraphColoring",
    "ModeTask",
    "Prompt",
    "Task",
    "build_task",
    "draw",
    "rank_share",
    "tells_modes",
]
