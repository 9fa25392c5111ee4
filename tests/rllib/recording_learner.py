"""A learner that computes entropy and KL a second time, from the distributions: what an update is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from ray.rllib.core.columns import Columns

from maxent_ray.rllib.ppo import MaxEntPPOTorchLearner


class Sums(NamedTuple):
    """Of one minibatch."""

    timesteps: float
    entropy: float
    kl: float
    masked: float


class Update(NamedTuple):
    """Means over an update."""

    timesteps: float
    entropy: float
    kl: float
    masked: float


class RecordingLearner(MaxEntPPOTorchLearner):
    """Keeps the sums of every minibatch, of all modules."""

    recorded: tuple[Sums, ...] = ()

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Any, fwd_out: Any) -> torch.Tensor:
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        module = self.module[module_id].unwrapped()
        now = module.get_train_action_dist_cls().from_logits(fwd_out[Columns.ACTION_DIST_INPUTS].detach())
        before = module.get_exploration_action_dist_cls().from_logits(batch[Columns.ACTION_DIST_INPUTS])
        mask = batch[Columns.LOSS_MASK]
        sums = (mask.sum(), now.entropy()[mask].double().sum(), before.kl(now)[mask].double().sum(), (~mask).sum())
        self.recorded += (Sums(*map(float, sums)),)
        return loss

    def take(self) -> tuple[Sums, ...]:
        """The minibatches since the last call."""
        recorded, self.recorded = self.recorded, ()
        return recorded


def whole_update(recorded: Sequence[Sums]) -> Update:
    """Means over all minibatches, each weighted with its timesteps."""
    timesteps, entropy, kl, masked = (sum(each) for each in zip(*recorded, strict=True))
    return Update(timesteps, entropy / timesteps, kl / timesteps, masked)
