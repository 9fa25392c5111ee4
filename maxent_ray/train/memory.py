"""Memory of an unroll: free memory, memory of one loss, and out-of-memory errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from maxent_ray.errors import ResourceError

_MEMORY = Path("/proc/meminfo")
_LIMITS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""A container's folder, limit and use, of control groups v2 and v1."""
_CPU_ALLOCATOR = ("can't allocate memory", "not enough memory")
"""Messages of torch's CPU allocator, which raises a plain RuntimeError."""


def free_bytes(device: torch.device) -> int:
    """Memory that an unroll could take on a device.

    On a GPU, what the driver has free and what torch's own cache holds unused; on a CPU, the system's available memory,
    or what is left under the container's limit if that is less.

    Raises:
        ResourceError: the system does not report its free memory.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if not _MEMORY.exists():
        raise ResourceError(
            f"objective.unroll.mode 'auto' reads free memory from {_MEMORY}, which this system does not have; "
            "choose one of forward, reverse, first_order"
        )
    lines = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
    return min([int(lines["MemAvailable"].split()[0]) * 1024, *_left_under_limits()])


def activation_bytes(loss: Callable[[], Tensor], parameters: Iterable[Tensor]) -> int:
    """Bytes that autograd keeps for the backward pass of one loss, without the parameters.

    Args:
        loss: Evaluates the loss once.
        parameters: Tensors that are not counted.
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an output that held itself would be a cycle

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss()
    del value  # only now: while it lived, no storage could be reused
    return sum(kept.values())


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """True for an out-of-memory error, on a GPU or on the CPU.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes differ"))
        (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in _CPU_ALLOCATOR)


def _left_under_limits() -> list[int]:
    left = []
    for folder, *names in _LIMITS:
        limit, used, statistics = (Path(folder, name) for name in (*names, "memory.stat"))
        if limit.exists() and used.exists() and (most := limit.read_text().strip()) != "max":
            left.append(max(0, int(most) - int(used.read_text()) + _cached_files(statistics)))
    return left


def _cached_files(statistics: Path) -> int:
    """Bytes of inactive cached files, which count as used and are freed on demand."""
    if not statistics.exists():
        return 0
    entries = dict(line.split() for line in statistics.read_text().splitlines())
    return int(entries.get("total_inactive_file", entries.get("inactive_file", 0)))
