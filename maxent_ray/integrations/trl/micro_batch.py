"""Statistics of TRL's newest micro-batch: its metrics, weighted by the tokens that they are means over."""

from __future__ import annotations

from trl import GRPOTrainer

from maxent_ray.core.statistics import BatchStatistics


def micro_batch_statistics(trainer: GRPOTrainer) -> BatchStatistics:
    """This rank's share of the newest micro-batch: its own tokens, at the means over all ranks.

    TRL's metrics are token means over all ranks already, one for each micro-batch. So the sum over ranks and
    micro-batches of (own tokens × mean) is the sum over all tokens, and each is counted once. Its KL is the estimator
    k3, by default times the importance ratio, which makes it one of the present policy where completions are reused.

    Args:
        trainer: Right after a training step: in ``on_substep_end`` or ``on_step_end``, before its metrics are cleared.
    """
    inputs = trainer._buffered_inputs[(trainer._step - 1) % trainer.args.steps_per_generation]
    mask = inputs["completion_mask"]
    if "tool_mask" in inputs:  # answers of tools are no tokens of the policy
        mask = mask * inputs["tool_mask"]
    tokens = int(mask.sum())
    metrics = trainer._metrics["train"]
    kl = tokens * metrics["kl"][-1] if trainer.beta != 0 else None  # with β = 0 TRL measures none
    return BatchStatistics(tokens=tokens, policy_entropy_sum=tokens * metrics["entropy"][-1], policy_kl_sum=kl)
