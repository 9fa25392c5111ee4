"""Trainers that keep what each micro-batch really trained with, computed beside TRL's own metrics."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor
from trl import GRPOTrainer

from maxent_ray.core.statistics import BatchStatistics, merge_all
from maxent_ray.integrations import MaxEntGRPOTrainer


class MicroBatch(NamedTuple):
    """One rank's micro-batch."""

    step: int
    beta: float
    entropy_coef: float
    tau: float | None
    inputs: dict[str, Tensor]
    statistics: BatchStatistics


class Recording(GRPOTrainer):
    """Keeps every micro-batch, with k3 and entropy summed over this rank's completion tokens."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.micro_batches: list[MicroBatch] = []
        super().__init__(*args, **kwargs)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        self._scores = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        return self._scores

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss = super()._compute_loss(model, inputs)
        logprobs, entropy, _ = (None if each is None else each.detach().double() for each in self._scores)
        mask = inputs["completion_mask"].double()
        ratio = inputs["ref_per_token_logps"].double() - logprobs
        old = inputs["old_per_token_logps"].double() if "old_per_token_logps" in inputs else logprobs
        importance = (logprobs - old).exp()  # TRL weighs k3 by it: completions are of an older policy
        statistics = BatchStatistics(
            tokens=int(mask.sum()),
            policy_entropy_sum=float((entropy * mask).sum()),
            policy_kl_sum=float(((ratio.exp() - ratio - 1) * importance * mask).sum()),
        )
        tau = getattr(self, "tau", None)
        used = self.beta, self.entropy_coef, tau
        self.micro_batches.append(MicroBatch(self.state.global_step, *used, inputs, statistics))
        return loss

    def statistics(self, step: int) -> BatchStatistics:
        """This rank's sums over one optimisation step."""
        return merge_all(each.statistics for each in self.micro_batches if each.step == step)


class RecordingListwise(MaxEntGRPOTrainer, Recording):
    """The same with group weights."""
