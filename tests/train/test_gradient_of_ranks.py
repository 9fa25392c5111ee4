"""Ranks whose answers differ in length: together they have the gradient, and the records, of the whole batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from maxent_ray.core.weighting import group_weights
from maxent_ray.policy import score, token_kl
from maxent_ray.report.points import read_points
from maxent_ray.train.loss import policy_loss
from maxent_ray.train.rank import RankProcess, RankSpec
from tests.train.rank_processes import run_ranks
from tests.train.tiny import tiny_config

RANKS, BETA = 2, 1.0
LONGEST = (2, 14)
"""New tokens that each rank allows."""


def main(rank: int, world_size: int, folder: str) -> None:
    """Make two live steps, and save the second one's gradient beside the parts of the whole batch's.

    The first step separates policy and reference, whose KL has no gradient where they are equal.
    """
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world_size)
    fixed = {"controller.objective": None, "controller.beta": BETA, "train.num_workers": world_size}
    steep = {"grpo.learning_rate": 0.01, "grpo.gradient_clip": 1e9}
    config = tiny_config({**fixed, **steep, "grpo.max_new_tokens": LONGEST[rank]})
    process = RankProcess()
    process.setup(config, RankSpec("gradient", rank, world_size, use_gpu=False, local=True))
    worker = process.worker
    first = process.run(1)[0]
    batch, model = worker._roll_out(1), worker.policy.model
    coefficients = worker.client.coefficients(1)
    weights = group_weights(batch.log_q, batch.ref_logprobs, coefficients.tau, BETA)
    surrogate = policy_loss(model, batch, coefficients.tau, 0.0, grpo=config.grpo, weights=weights).loss
    scores, mask = score(model, batch.rollout), batch.rollout.completion_mask
    kl_sum = token_kl(scores.full_logprobs, batch.ref.full_logprobs, mask).sum()
    parts = [_flat(torch.autograd.grad(part, list(model.parameters()))) for part in (surrogate, kl_sum)]
    row = process.run(1)[0]
    found = {
        "tokens": int(mask.sum()),
        "surrogate": parts[0],
        "kl_sum": parts[1],
        "live": _flat([parameter.grad for parameter in model.parameters()]),
        "kl": float(kl_sum),
        "loss": row.loss,
        "surrogate_loss": float(surrogate),
        "rows": [json.loads(json.dumps({**each.to_dict(), "trial": "run"})) for each in (first, row)],
    }
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    process.close()
    dist.destroy_process_group()


def _flat(gradients: Any) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients]).double()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_ranks(main, RANKS, tmp_path_factory.mktemp("ranks"))


def test_the_gradient_of_all_ranks_is_that_of_the_whole_batch(ranks: list[dict[str, Any]]) -> None:
    """Groups count alike, and so do tokens: a mean of the ranks' mean KL would count short answers too much."""
    tokens = [rank["tokens"] for rank in ranks]
    surrogate = sum(rank["surrogate"] for rank in ranks) / RANKS
    whole = surrogate + BETA * sum(rank["kl_sum"] for rank in ranks) / sum(tokens)
    mean_of_means = surrogate + BETA * sum(rank["kl_sum"] / rank["tokens"] for rank in ranks) / RANKS
    for rank in ranks:
        assert float((rank["live"] - whole).norm() / whole.norm()) < 1e-6
    assert float((mean_of_means - whole).norm() / whole.norm()) > 0.05


def test_records_are_those_of_the_whole_batch(ranks: list[dict[str, Any]]) -> None:
    point = read_points([row for rank in ranks for row in rank["rows"]])["run"][-1]
    tokens = [rank["tokens"] for rank in ranks]
    kl = sum(rank["kl"] for rank in ranks) / sum(tokens)
    assert point["kl"] == pytest.approx(kl, rel=1e-5)
    assert sum(rank["kl"] / rank["tokens"] for rank in ranks) / RANKS != pytest.approx(kl, rel=0.005)
    surrogate = sum(rank["surrogate_loss"] for rank in ranks) / RANKS
    assert point["loss"] == pytest.approx(surrogate + BETA * kl, rel=1e-5)
    for name in ("kl", "entropy", "policy_entropy", "tied_share", "gradient_norm"):
        assert len({rank["rows"][-1][name] for rank in ranks}) == 1  # every rank knows the run's
