"""Rewards of a user's own, with the signature of TRL's reward functions, run in a process beside the rank."""

from maxent_ray.tasks.rewards.batch import RewardBatch
from maxent_ray.tasks.rewards.scoring import Rewards

__all__ = ["RewardBatch", "Rewards"]
