"""Paths that need a GPU: nccl, autocast, memory that runs out, every way to unroll.

``experiments/benchmarks/gpu.sh`` runs them on a machine with one, without ``conftest.py`` and its packages; elsewhere
they are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from maxent_ray.config import ExperimentConfig
from maxent_ray.errors import ResourceError
from maxent_ray.runtime.rendezvous import rendezvous_over_group
from maxent_ray.train.memory import free_bytes
from maxent_ray.train.rank import RankProcess, RankSpec
from maxent_ray.train.unroll.rank_sync import UnrollRanks
from tests.train.tiny import start, tiny_config

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICE = torch.device("cuda", 0)


def start_on_gpu(config: ExperimentConfig, init_method: str | None = None) -> RankProcess:
    process = RankProcess()
    process.setup(config, RankSpec("gpu", 0, 1, use_gpu=True, init_method=init_method, local=True))
    return process


@pytest.fixture
def limit_memory() -> Iterator[Callable[[int], None]]:
    """A function that limits this process to some bytes of the GPU."""
    total = torch.cuda.get_device_properties(DEVICE).total_memory

    def limit(size: int) -> None:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(size / total, DEVICE)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)


def test_a_rank_trains_in_an_nccl_group(tmp_path: Path) -> None:
    process = start_on_gpu(tiny_config(), f"file://{tmp_path}/meeting")
    assert dist.get_backend() == "nccl"
    rows = process.run(3)
    assert rows[-1].version >= 1 and rows[-1].tau != rows[0].tau
    tensors = [torch.arange(3.0, device=DEVICE), torch.ones(2, dtype=torch.float64, device=DEVICE)]
    with UnrollRanks(DEVICE) as ranks:
        assert all(torch.equal(*pair) for pair in zip(ranks.mean(tensors), tensors, strict=True))
        assert ranks.least(0.5) == 0.5
    rendezvous_over_group(dist.group.WORLD, "gpu", 0, 1, timeout_s=30.0).close()
    averaged = nn.parallel.DistributedDataParallel(nn.Linear(2, 1).to(DEVICE))
    averaged(torch.ones(1, 2, device=DEVICE)).sum().backward()
    assert averaged.module.weight.grad is not None and averaged.module.weight.grad.device.type == "cuda"
    process.close()
    assert not dist.is_initialized()


def test_a_gpu_trains_as_a_cpu_does() -> None:
    """The same numbers draw the tokens; rounding moves few."""
    config = tiny_config({"policy.dtype": "float32", "grpo.prompts_per_step": 16})
    processes = [start(config), start_on_gpu(config)]
    (on_cpu,), (on_gpu,) = (process.run(1) for process in processes)
    assert on_gpu.policy_entropy == pytest.approx(on_cpu.policy_entropy, rel=0.02)
    assert on_gpu.gradient_norm == pytest.approx(on_cpu.gradient_norm, rel=0.1)
    assert on_gpu.kl == pytest.approx(0.0, abs=1e-6)
    for process in processes:
        process.close()


def test_forward_passes_are_in_bfloat16_and_trained_parameters_in_float32() -> None:
    gradients = {}
    for dtype in ("auto", "float32"):
        process = start_on_gpu(tiny_config({"policy.dtype": dtype}))
        seen: set[torch.dtype] = set()
        layer = next(module for module in process.worker.policy.model.modules() if isinstance(module, nn.Linear))
        layer.register_forward_hook(lambda module, inputs, output, seen=seen: seen.add(output.dtype))
        process.run(1)
        assert seen == {torch.bfloat16 if dtype == "auto" else torch.float32}
        parameters = list(process.worker.policy.model.parameters())
        assert {each.dtype for each in parameters} == {torch.float32}
        gradients[dtype] = torch.cat([each.grad.flatten() for each in parameters if each.grad is not None])
        process.close()
    assert torch.isfinite(gradients["auto"]).all()
    assert nn.functional.cosine_similarity(*gradients.values(), dim=0) > 0.9


def test_memory_that_runs_out_names_a_pass_that_fits(limit_memory: Callable[[int], None]) -> None:
    large = {"grpo.prompts_per_step": 128, "grpo.group_size": 8}
    processes = [start_on_gpu(tiny_config(large)) for _ in range(2)]
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    processes[0].run(1)
    needed = torch.cuda.max_memory_allocated() - before
    limit_memory(torch.cuda.memory_allocated() + needed // 2)
    with pytest.raises(ResourceError, match=r"tokens do: set grpo\.micro_batch_tokens=\d+$") as caught:
        processes[1].run(1)
    advised = int(re.findall(r"micro_batch_tokens=(\d+)", str(caught.value))[0])
    processes.append(start_on_gpu(tiny_config({**large, "grpo.micro_batch_tokens": advised})))
    processes[2].run(1)
    for process in processes:
        process.close()


@pytest.mark.parametrize("mode", ["forward", "reverse", "first_order", "auto"])
def test_every_mode_unrolls(mode: str) -> None:
    unroll = {"type": "truncated_backprop", "unroll": {"steps": 2, "groups": 2, "mode": mode}}
    process = start_on_gpu(tiny_config({"controller.objective": unroll}))
    rows = process.run(3)
    process.close()
    assert rows[-1].failed_unrolls == 0
    assert {row.reason for row in rows[1:]} <= {"updated", "clipped"}


def test_free_memory_counts_what_torch_holds_unused() -> None:
    free = free_bytes(DEVICE)
    held: Tensor | None = torch.empty(2**28, dtype=torch.uint8, device=DEVICE)
    assert free - free_bytes(DEVICE) >= 2**28
    del held
    assert abs(free_bytes(DEVICE) - free) < 2**26
