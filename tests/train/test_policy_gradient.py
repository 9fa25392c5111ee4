"""Micro-batches: the gradient of the whole batch whatever the split, on one rank and on two; memory that runs out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from maxent_ray.core.state import Coefficients
from maxent_ray.core.weightings.coefficients import GroupValues, coefficients
from maxent_ray.errors import ResourceError
from maxent_ray.policy import Policy
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.loss import LossTerms, weights_of
from maxent_ray.train.micro_batches import predict_in_parts, split_rows
from maxent_ray.train.policy_and_task import forward_precision
from maxent_ray.train.policy_gradient import PolicyGradient
from maxent_ray.train.rank import RankProcess, RankSpec
from tests.train.rank_processes import run_ranks
from tests.train.test_weightings import WEIGHTINGS, initial, prepared
from tests.train.tiny import tiny_config
from tests.train.unroll.unroll_problem import GRPO

BETA = 0.4
SIZES = [1, 20, 45, 100, 250]
CONFIG = tiny_config()


def gradient_of(
    policy: Policy, batch: PreparedBatch, name: str = "maxent", **settings: Any
) -> tuple[LossTerms, Tensor]:
    weighting = WEIGHTINGS[name]
    tau, made = initial(weighting), prepared(batch, weighting)
    policy.model.zero_grad(set_to_none=True)
    terms = PolicyGradient(
        policy.model,
        made,
        Coefficients(tau, BETA, version=0, step=0),
        grpo=GRPO.model_copy(update=settings),
        weighting=weighting,
        kl_tokens=made.rollout.completion_mask.sum(),
        weights=weights_of(made, weighting, tau, BETA),
        precision=lambda: forward_precision(CONFIG.policy, torch.device("cpu")),
    ).backward()
    found = torch.cat([parameter.grad.flatten() for parameter in policy.model.parameters()])  # type: ignore[union-attr]
    policy.model.zero_grad(set_to_none=True)
    return terms, found


@pytest.mark.parametrize("tokens", SIZES)
def test_every_sequence_is_in_one_part_and_parts_keep_to_the_size(batch: PreparedBatch, tokens: int) -> None:
    rollout = batch.rollout
    parts = split_rows(rollout, tokens)
    assert sorted(torch.cat(parts).tolist()) == list(range(16))
    widths = [rollout.select(rows).input_ids.shape[1] for rows in parts]
    assert all(len(rows) * width <= tokens or len(rows) == 1 for rows, width in zip(parts, widths, strict=True))
    assert len(parts) == 16 if tokens <= 20 else len(parts) < 16  # the shortest has eleven tokens


@pytest.mark.parametrize("name", WEIGHTINGS)
@pytest.mark.parametrize("tokens", [1, 45, 100])
def test_the_gradient_is_that_of_the_whole_batch(policy: Policy, batch: PreparedBatch, tokens: int, name: str) -> None:
    whole, expected = gradient_of(policy, batch, name)
    terms, found = gradient_of(policy, batch, name, micro_batch_tokens=tokens, chunk_tokens=5)
    assert float((found - expected).norm() / expected.norm()) < 1e-10
    for each, true in zip(terms, whole, strict=True):
        torch.testing.assert_close(each, true, rtol=1e-10, atol=1e-12)
        assert not each.requires_grad


def test_the_reference_is_read_in_parts_too(policy: Policy, batch: PreparedBatch) -> None:
    whole, parts = (predict_in_parts(policy.model, batch.rollout, tokens, 1.3) for tokens in (None, 45))
    mask = batch.rollout.completion_mask
    torch.testing.assert_close(parts.full_logprobs[mask], whole.full_logprobs[mask], rtol=1e-10, atol=1e-12)
    assert parts.temperature == 1.3
    assert not parts.states.requires_grad


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weightings_say_whether_they_use_the_policys_log_probabilities(batch: PreparedBatch, name: str) -> None:
    """Micro-batches rely on it: those that do not are never given any."""
    weighting = WEIGHTINGS[name]
    made, tau = prepared(batch, weighting), initial(weighting)
    logprobs = torch.linspace(-3.0, -0.1, 16, dtype=torch.float64).view(4, 4)
    weights, lengths = weights_of(made, weighting, tau, BETA), torch.ones(4, 4, dtype=torch.float64)
    found = [
        coefficients(weighting, GroupValues(made.rewards, each, lengths, weights), tau)
        for each in (logprobs, logprobs.flip(1))
    ]
    assert torch.equal(*found) != weighting.uses_logprobs


# --- memory ---


class Full:
    """Stands in for a memory: passes of more tokens than fit raise what torch raises."""

    def __init__(self, model: nn.Module, tokens: int) -> None:
        self.tokens = tokens
        self.handle = model.register_forward_pre_hook(self._check, with_kwargs=True)

    def _check(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].numel() > self.tokens:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")


def test_where_memory_runs_out_the_message_has_a_size_that_fits(policy: Policy, batch: PreparedBatch) -> None:
    memory = Full(policy.model, 100)
    try:
        with pytest.raises(ResourceError) as raised:
            gradient_of(policy, batch)
        message = str(raised.value)
        assert "can't allocate memory" in message
        size = int(message.rpartition("grpo.micro_batch_tokens=")[2])
        gradient_of(policy, batch, micro_batch_tokens=size)
        assert size > 50
        memory.tokens = 5
        with pytest.raises(ResourceError, match=r"neither does one sequence alone: set a smaller grpo\.max_new_tokens"):
            gradient_of(policy, batch)
    finally:
        memory.handle.remove()
    assert all(parameter.grad is None for parameter in policy.model.parameters())


def test_a_step_that_runs_out_of_memory_names_itself_and_changes_nothing() -> None:
    process = RankProcess()
    process.setup(CONFIG, RankSpec("full", rank=0, world_size=1, use_gpu=False, local=True))
    process.run(1)
    model = process.worker.policy.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = process.worker._roll_out(1)
    memory = Full(model, batch.rollout.input_ids.numel() // 3)
    process.worker._roll_out = lambda step: batch  # type: ignore[method-assign]
    with pytest.raises(ResourceError, match=r"step 1 \(tau .*grpo.micro_batch_tokens="):
        process.run(1)
    memory.handle.remove()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert process.run(1)[0].step == 1
    process.close()


# --- ranks ---

RANKS = 2


def main(rank: int, world_size: int, folder: str) -> None:
    """Gradients of one live step, in one pass and in several; the ranks' numbers of passes differ."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world_size)
    found = {}
    for name, size in (("whole", None), ("parts", 60 if rank == 0 else 25)):
        config = tiny_config({"train.num_workers": world_size, "grpo.micro_batch_tokens": size})
        config = config.model_copy(update={"controller": replace(config.controller, objective=None)})
        process = RankProcess()
        process.setup(config, RankSpec(name, rank, world_size, use_gpu=False, local=True))
        process.run(2)
        parameters = process.worker.policy.model.parameters()
        found[name] = torch.cat([p.grad.flatten() for p in parameters]).double()  # type: ignore[union-attr]
        process.close()
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_average_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    ranks = run_ranks(main, RANKS, tmp_path)
    for rank in ranks:
        assert torch.equal(rank["parts"], ranks[0]["parts"])
        assert float((rank["parts"] - rank["whole"]).norm() / rank["whole"].norm()) < 1e-4
