"""IMPALA with a controller: τ is its entropy coefficient; its loss has no KL term."""

from __future__ import annotations

from typing import ClassVar

from ray.rllib.algorithms.impala.torch.impala_torch_learner import IMPALATorchLearner

from maxent_ray.rllib.entropy_bonus import EntropyBonusLearner


class MaxEntIMPALATorchLearner(EntropyBonusLearner, IMPALATorchLearner):
    """IMPALA's learner with a controller.

    Example:
        >>> from maxent_ray.rllib import control
        >>> from ray.rllib.algorithms.impala import IMPALAConfig
        >>> control(IMPALAConfig(), target_entropy=0.5).learner_class.__name__
        'MaxEntIMPALATorchLearner'
    """

    updates_in_thread: ClassVar[bool] = True
