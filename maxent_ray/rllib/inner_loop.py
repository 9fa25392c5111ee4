"""Inner loop of one module's KL coefficient, over the minibatch steps of an update."""

from __future__ import annotations

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from maxent_ray.core.inner_loop import beta_factor, next_course
from maxent_ray.rllib.minibatch import Minibatch


class InnerLoop:
    """Moves β between the minibatch steps of an update, the same on all learners.

    Args:
        target_kl: KL* (nats per timestep).
        distributed: Several learners train together: KL is a mean over all of them.

    Example:
        >>> loop = InnerLoop(target_kl=0.01, distributed=False)
        >>> loop.load([0.5, 1.0, 1.5])
        >>> loop.add(Minibatch(torch.tensor(64), torch.tensor(0.6), torch.tensor(0.02))) > 1
        tensor(True)
    """

    def __init__(self, target_kl: float, *, distributed: bool) -> None:
        self._target_kl = target_kl
        self._distributed = distributed
        self._course: Float[Tensor, "n"] | None = None
        self._seen: list[Tensor] = []
        self._factors: list[Tensor] = []

    def add(self, minibatch: Minibatch) -> Float[Tensor, ""] | None:
        """Take in one minibatch; returns the factor on the decided β for the next one, None in the first update."""
        self._seen.append(self._mean_kl(minibatch))
        course = self._course
        if course is None or len(self._seen) >= len(course):
            return None
        seen = torch.stack(self._seen)
        self._factors.append(beta_factor(course.to(seen.device), seen, self._target_kl))
        return self._factors[-1]

    def end_update(self, *, is_usable: bool) -> float:
        """End the update, and return the mean factor in it; its course counts if it was measured well."""
        factors, seen = self._factors, self._seen
        self._factors, self._seen = [], []
        if is_usable and seen:
            self._course = next_course(self._course, torch.stack(seen).cpu())
        return float(torch.stack(factors).mean()) if factors else 1.0

    def to_list(self) -> list[float] | None:
        """The usual course of KL over an update, ready for JSON; None before the first update."""
        return None if self._course is None else self._course.tolist()

    def load(self, course: list[float] | None) -> None:
        """Continue with a saved course."""
        self._course = None if course is None else torch.tensor(course)
        self._seen, self._factors = [], []

    def _mean_kl(self, minibatch: Minibatch) -> Tensor:
        assert minibatch.kl is not None  # of a loss with a KL term
        if not self._distributed:
            return minibatch.kl.detach()
        sums = torch.stack([minibatch.timesteps * minibatch.kl.detach(), minibatch.timesteps.to(minibatch.kl.dtype)])
        dist.all_reduce(sums)
        return sums[0] / sums[1]
