"""Learning rates of an algorithm's own settings, set anew after a checkpoint was loaded.

RLlib restores an optimizer's settings with its moments, and takes its own learning rate again only after the next
update: with another trial's checkpoint, one iteration would train with that trial's rate.
"""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm


def keep_learning_rates(algorithm: Algorithm) -> None:
    """Set every optimizer's learning rate to that of the algorithm's own config; one with a schedule keeps its place.

    Args:
        algorithm: Restored just now.
    """
    assert algorithm.learner_group is not None
    for answer in algorithm.learner_group.foreach_learner(_set_rates):
        answer.get()


def _set_rates(learner: Any, _: Any = None) -> None:
    for optimizer, schedule in learner._optimizer_lr_schedules.items():
        if not schedule.use_schedule:
            learner._set_optimizer_lr(optimizer, lr=schedule.get_current_value())
