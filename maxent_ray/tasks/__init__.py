"""Tasks: prompts to train and to evaluate on, with exact graders."""

from maxent_ray.tasks.base import Grade, ModeTask, Prompt, Task, draw, rank_share, tells_modes
from maxent_ray.tasks.countdown import Countdown
from maxent_ray.tasks.registry import build_task

__all__ = ["Countdown", "Grade", "ModeTask", "Prompt", "Task", "build_task", "draw", "rank_share", "tells_modes"]
