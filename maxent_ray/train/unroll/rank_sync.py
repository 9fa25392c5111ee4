"""Collectives inside an unroll; a rank that fails there leaves no other rank waiting."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor

from maxent_ray.errors import RankLeftError


class UnrollRanks:
    """Collectives of the ranks that share one unroll; a context around it.

    Before each collective the ranks confirm, in one all-reduce of a single number, that all of them take part. A rank
    that fails (out of memory) sends a refusal when it leaves the context; the others receive it at their next
    collective, at the latest when they leave the context themselves, and raise :class:`RankLeftError`. So every rank
    takes part in the same sequence of collectives whatever happens between them, and either all ranks have a result or
    none. As with ``DistributedDataParallel``, a process that dies or hangs is left to the process group's timeout.

    Args:
        device: The model's device, for the collectives.
        group: The ranks; None: all of them.

    Example:
        .. code-block:: python

            with UnrollRanks(device) as ranks:
                gradients = ranks.mean(gradients)
    """

    def __init__(self, device: torch.device, group: dist.ProcessGroup | None = None) -> None:
        self._device = device
        self._group = group

    def __enter__(self) -> UnrollRanks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._confirm()
        elif issubclass(kind, Exception) and not issubclass(kind, RankLeftError):
            self._all_present(False)

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Mean of each tensor over ranks; one collective for each dtype.

        Raises:
            RankLeftError: another rank left.
        """
        means = list(tensors)
        places: dict[torch.dtype, list[int]] = {}
        for place, tensor in enumerate(tensors):
            places.setdefault(tensor.dtype, []).append(place)
        # all memory is allocated before the ranks confirm: after that no rank may fail
        flat = {dtype: torch.cat([means[i].reshape(-1) for i in indices]) for dtype, indices in places.items()}
        self._confirm()
        world_size = dist.get_world_size(self._group)
        for dtype, indices in places.items():
            dist.all_reduce(flat[dtype], group=self._group)
            parts = flat[dtype].div_(world_size).split([means[i].numel() for i in indices])
            for index, part in zip(indices, parts, strict=True):
                means[index] = part.view(means[index].shape)
        return means

    def least(self, value: float) -> float:
        """The smallest value of all ranks.

        Raises:
            RankLeftError: another rank left.
        """
        self._confirm()
        return self._minimum(value)

    def _confirm(self) -> None:
        if not self._all_present(True):
            raise RankLeftError("another rank could not finish the unroll; no rank uses it")

    def _all_present(self, here: bool) -> bool:
        return self._minimum(float(here)) > 0

    def _minimum(self, value: float) -> float:
        held = torch.tensor(value, dtype=torch.float64, device=self._device)
        dist.all_reduce(held, dist.ReduceOp.MIN, group=self._group)
        return float(held)
