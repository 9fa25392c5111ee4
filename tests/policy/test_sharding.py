"""Parameters divided among two ranks: families sample, learn and are saved as with whole parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from maxent_ray.config import PolicySettings
from maxent_ray.errors import ConfigError
from maxent_ray.policy import (
    Policy,
    Predictions,
    Rollout,
    frozen_copy,
    load_policy,
    predict,
    sample_groups,
    save_policy,
    token_values,
)
from maxent_ray.policy.sharding import most_of_ranks, shard_model
from maxent_ray.policy.whole_state import whole
from maxent_ray.train.sharded_policy import shard_policy
from tests.policy.families import COMMON, documented_rows, write_model
from tests.train.rank_processes import run_ranks

CPU = torch.device("cpu")
RANKS = 2
DIFFERENT = ("gemma2", "gpt2", "mamba", "qwen3_moe")
"""Logits at once, transposed weights, states in place of keys, experts."""
PROMPTS = ["3=3:", "2,3,4=9:", "10,11,12,13,14,15,16,17,18,19,20=10:"]


def sampled(policy: Policy) -> Rollout:
    return sample_groups(policy, PROMPTS, group_size=2, max_new_tokens=6, temperature=0.7, seed=1)


def gradient(model: nn.Module, rollout: Rollout, reference: Predictions) -> dict[str, Tensor]:
    values = token_values(predict(model, rollout), reference, rollout, chunk_tokens=5)
    (values.logprobs.sum() + values.entropy.sum()).backward()
    found = {name: whole(each.grad) for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def main(rank: int, world_size: int, folder: str, families: tuple[str, ...] = DIFFERENT) -> None:
    """Each family before and after its parameters are divided."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world_size)
    found = {}
    for family in families:
        path, saved = Path(folder, family), Path(folder, f"{family}-saved")
        if rank == 0:
            write_model(family, path)
        dist.barrier()
        policy = load_policy(str(path), device=CPU)
        reference = frozen_copy(policy)
        rollout = sampled(policy)
        with torch.no_grad():
            expected = predict(reference, rollout)
        gradients = [gradient(policy.model, rollout, expected)]
        policy = shard_policy(policy, reference, PolicySettings(), CPU)
        again = sampled(policy)
        with torch.no_grad():
            predicted = predict(reference, again)
        gradients.append(gradient(policy.model, again, predicted))
        save_policy(policy, saved)
        dist.barrier()
        rollouts = [each.input_ids for each in (rollout, again, sampled(load_policy(str(saved), device=CPU)))]
        most = most_of_ranks(policy.model, 3 + rank)
        found[family] = {"gradients": gradients, "rollouts": rollouts, "most": most}
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


def common_main(rank: int, world_size: int, folder: str) -> None:
    main(rank, world_size, folder, tuple(sorted(COMMON & working())))


def working() -> set[str]:
    return {family for family, row in documented_rows().items() if row.endswith("| yes |")}


def check(ranks: list[dict[str, Any]]) -> None:
    for family, of_family in ((family, values) for rank in ranks for family, values in rank.items()):
        expected, found = of_family["gradients"]
        assert found.keys() == expected.keys(), family
        size = torch.stack([value.norm() for value in expected.values()]).norm()
        difference = torch.stack([(found[name] - value).norm() for name, value in expected.items()]).norm()
        assert difference < 1e-4 * size, family
        assert all(torch.equal(ids, of_family["rollouts"][0]) for ids in of_family["rollouts"]), family
        assert of_family["most"] == 4


def test_families_sample_learn_and_are_saved_alike(tmp_path: Path) -> None:
    check(run_ranks(main, RANKS, tmp_path))


@pytest.mark.slow
def test_common_families_sample_learn_and_are_saved_alike(tmp_path: Path) -> None:
    check(run_ranks(common_main, RANKS, tmp_path))


def test_layers_that_are_not_known_are_refused(tmp_path: Path) -> None:
    for family in ("ctrl", "gpt_neox_japanese"):
        write_model(family, tmp_path / family)
        model = load_policy(str(tmp_path / family), device=CPU).model
        with pytest.raises(ConfigError, match="has no layers that can be gathered one at a time: leave it out"):
            shard_model(model, CPU)
