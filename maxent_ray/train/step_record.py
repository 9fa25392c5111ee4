"""What one rank records of one step."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class StepRow:
    """One step of one rank, as it is written to ``rows.jsonl``."""

    step: int
    rank: int
    objective: str
    """analytic | truncated_backprop | fixed | grpo."""
    tau: float
    """τ that this step trained with."""
    beta: float
    """β that this step trained with."""
    version: int
    """Version of these coefficients: the rounds decided before."""
    reward: float
    """Mean reward of the batch: mean@G on training prompts."""
    pass_rate: float
    distinct: float
    coverage: float
    """pass@G, distinct@G and coverage@G of the training groups."""
    entropy: float
    """H, the declared entropy signal (nats)."""
    target_entropy: float | None
    kl: float
    """KL, the declared KL signal (nats)."""
    target_kl: float | None
    policy_entropy: float
    """Entropy of the policy (nats per token)."""
    tied_share: float
    """Share of the groups whose rewards all tie."""
    loss: float
    gradient_norm: float
    seconds: float
    seconds_rollout: float
    seconds_hypergradient: float
    seconds_controller: float
    """Time spent waiting for, and talking to, the controller."""
    reason: str
    """Reason of the newest decision that this rank knows of."""
    failed_unrolls: int
    """Unrolls since the worker's process started that ran out of memory; their steps sent no controller gradients."""
    decided_locally: int
    """Rounds since the worker's process started that rank 0 decided itself, as the actor could not be reached."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: a number that is not finite becomes None."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }
