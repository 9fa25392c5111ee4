"""Experiment trackers: TensorBoard, MLflow, Weights & Biases and Trackio follow a run's records as they grow."""

from maxent_ray.trackers.interface import Tracker, TrialRun, TrialStart
from maxent_ray.trackers.selection import TRACKERS, choose_trackers
from maxent_ray.trackers.tracking import Tracking
from maxent_ray.trackers.trial_settings import PlannedSettings

__all__ = [
    "TRACKERS",
    "PlannedSettings",
    "Tracker",
    "Tracking",
    "TrialRun",
    "TrialStart",
    "choose_trackers",
]
