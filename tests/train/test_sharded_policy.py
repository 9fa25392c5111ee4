"""Parameters divided among two ranks: gradients, steps, states and answers are those of ranks that have all of them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from maxent_ray.config import ExperimentConfig
from maxent_ray.core.state import Coefficients
from maxent_ray.errors import ConfigError, ResourceError
from maxent_ray.policy import load_policy, save_policy
from maxent_ray.policy.sharding import is_sharded, shard_model
from maxent_ray.policy.whole_state import whole
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.held_out_sampling import evaluate_held_out
from maxent_ray.train.micro_batches import split_rows
from maxent_ray.train.policy_and_task import load_policy_and_task
from maxent_ray.train.policy_gradient import PolicyGradient
from maxent_ray.train.rank import RankProcess, RankSpec
from maxent_ray.train.worker_state import decode_state
from tests.policy.families import write_model
from tests.train.rank_processes import run_ranks
from tests.train.test_weightings import WEIGHTINGS, initial, prepared
from tests.train.tiny import start, tiny_config, trained
from tests.train.unroll.unroll_problem import GRPO, unroll_problem

RANKS, BETA = 2, 0.4
LORA = {"policy.lora": {"rank": 4}, "grpo.learning_rate": 0.01}


def join(rank: int, world_size: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world_size)


def config_of(fully_shard: bool, **settings: Any) -> ExperimentConfig:
    return tiny_config({"train.num_workers": RANKS, "train.fully_shard": fully_shard, **settings})


def started(config: ExperimentConfig, name: str) -> RankProcess:
    """A rank of those that joined."""
    process = RankProcess()
    place = dist.get_rank(), dist.get_world_size()
    process.setup(config, RankSpec(name, *place, use_gpu=False, local=True))
    assert is_sharded(process.worker.policy.model) == config.train.fully_shard
    return process


def parameters(process: RankProcess) -> Tensor:
    state = process.worker.policy.model.state_dict()
    return torch.cat([whole(value).flatten() for value in state.values()])


def kept(process: RankProcess) -> int:
    """Numbers that a rank keeps: parameters, and moments of those that are trained."""
    worker = process.worker
    moments = (value for each in worker.optimizer.state.values() for value in each.values() if value.dim() > 0)
    values = [*worker.policy.model.state_dict().values(), *moments]
    return sum((value.to_local() if isinstance(value, DTensor) else value).numel() for value in values)


def assert_close(row: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    assert row.keys() == expected.keys()
    for name, value in expected.items():
        near = pytest.approx(value, rel=tolerance, abs=tolerance) if isinstance(value, float) else value
        assert row[name] == near, name


# --- gradients ---


def gradients_main(rank: int, world_size: int, folder: str) -> None:
    """Gradients in float64 of the whole batch, and of each rank's half of it where parameters are divided."""
    join(rank, world_size, folder)
    problem = unroll_problem()
    divided = copy.deepcopy(problem.model)
    shard_model(divided, torch.device("cpu"))
    found = {}
    for name in ("maxent", "entropic"):  # the second reads log-probabilities before its passes
        whole_batch = prepared(problem.batch, WEIGHTINGS[name])
        half = whole_batch.take(slice(rank, None, world_size))
        found[name, "whole"] = gradient_of(problem.model, whole_batch, whole_batch, name, None)
        for sizes in ((None, None), (60, 25), (250, 1)):
            found[name, *sizes] = gradient_of(divided, half, whole_batch, name, sizes[rank])
    found["passes"] = torch.tensor(len(split_rows(half.rollout, 60 if rank == 0 else 25)))
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


def gradient_of(
    model: nn.Module, batch: PreparedBatch, whole_batch: PreparedBatch, name: str, size: int | None
) -> Tensor:
    tokens = whole_batch.rollout.completion_mask.sum().double() * len(batch.rewards) / len(whole_batch.rewards)
    weighting = WEIGHTINGS[name]
    PolicyGradient(
        model,
        batch,
        Coefficients(initial(weighting), BETA, version=0, step=0),
        grpo=GRPO.model_copy(update={"micro_batch_tokens": size, "chunk_tokens": 5}),  # the head is computed again
        weighting=weighting,
        kl_tokens=tokens,
        weights=None,
        precision=lambda: torch.autocast("cpu", enabled=False),
    ).backward()
    gradients = [whole(parameter.grad).flatten() for parameter in model.parameters()]  # type: ignore[arg-type]
    model.zero_grad(set_to_none=True)
    return torch.cat(gradients)


def test_the_gradient_is_that_of_the_whole_batch_whatever_the_passes(tmp_path: Path) -> None:
    ranks = run_ranks(gradients_main, RANKS, tmp_path)
    assert ranks[0]["passes"] != ranks[1]["passes"]
    for rank in ranks:
        for case in set(rank) - {"passes"}:
            expected = rank[case[0], "whole"]
            assert float((rank[case] - expected).norm() / expected.norm()) < 1e-10


# --- training ---

STEPS = 2
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "adapters": LORA,
    "recomputed": {"policy.gradient_checkpointing": True},
    "half": {"policy.dtype": "bfloat16", "policy.lora": {"rank": 4}},
}
ROWS, STATE = (lambda name: 0.05 if name == "half" else 1e-4), (lambda name: 2e-3 if name == "half" else 1e-5)
"""Tolerances, which are large where bfloat16 rounds."""


def training_main(rank: int, world_size: int, folder: str) -> None:
    """Runs with divided parameters beside the same with whole ones; the ranks' numbers of passes differ."""
    join(rank, world_size, folder)
    found = {}
    for name, settings in CASES.items():
        for fully_shard in (False, True):
            passes = {"grpo.micro_batch_tokens": (60, 25)[rank]} if name == "plain" else {}
            process = started(config_of(fully_shard, **settings, **passes), f"{name}-{fully_shard}")
            rows = trained(process.run(STEPS))
            evaluation = process.evaluate().metrics.to_dict()
            block, kind = process.state_bytes(), "sharded" if fully_shard else "whole"
            found[name, kind] = {"rows": rows, "evaluation": evaluation, "parameters": parameters(process)}
            found[name, kind]["kept"] = kept(process)
            if rank == 0:
                Path(folder, f"{name}-{kind}.state").write_bytes(block)
            if fully_shard:
                save_policy(process.worker.policy, Path(folder, name))
            process.close()
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[Any, Any]]:
    return run_ranks(training_main, RANKS, folder)


@pytest.mark.parametrize("name", CASES)
def test_steps_and_evaluations_are_those_of_whole_parameters(ranks: list[dict[Any, Any]], name: str) -> None:
    for rank in ranks:
        sharded, expected = rank[name, "sharded"], rank[name, "whole"]
        for row, true in zip(sharded["rows"], expected["rows"], strict=True):
            assert_close(row, true, ROWS(name))
        torch.testing.assert_close(sharded["parameters"], expected["parameters"], rtol=0, atol=STATE(name))
        assert sharded["evaluation"] == (expected if name != "half" else ranks[0][name, "sharded"])["evaluation"]


@pytest.mark.parametrize("name", CASES)
def test_each_rank_keeps_half(ranks: list[dict[Any, Any]], name: str) -> None:
    for rank in ranks:
        assert rank[name, "sharded"]["kept"] == pytest.approx(rank[name, "whole"]["kept"] / RANKS, rel=0.01)


@pytest.mark.parametrize("name", CASES)
def test_the_state_is_the_block_of_whole_parameters(ranks: list[dict[Any, Any]], folder: Path, name: str) -> None:
    sharded, expected = (
        decode_state((folder / f"{name}-{kind}.state").read_bytes(), name) for kind in ("sharded", "whole")
    )
    sizes = [(folder / f"{name}-{kind}.state").stat().st_size for kind in ("sharded", "whole")]
    assert abs(sizes[0] - sizes[1]) < 100  # digits of the controller's numbers; tied embeddings are stored once
    assert sharded["model"].keys() == expected["model"].keys()
    assert (sharded["step"], sharded["prompts"]) == (expected["step"], expected["prompts"])
    assert sharded["optimizer"].keys() == expected["optimizer"].keys()
    pairs = [(sharded["model"], expected["model"])]
    pairs += [(sharded["optimizer"][index], moments) for index, moments in expected["optimizer"].items()]
    for mine, true in pairs:
        for key, value in true.items():
            torch.testing.assert_close(mine[key], value, rtol=0, atol=10 * STATE(name))


@pytest.mark.parametrize("name", CASES)
def test_the_saved_policy_is_a_plain_one(ranks: list[dict[Any, Any]], folder: Path, name: str) -> None:
    saved = load_policy(str(folder / name), device=torch.device("cpu"))
    config = config_of(False, **CASES[name])
    assert type(saved.model).__name__ == "LlamaForCausalLM" == saved.model.config.architectures[0]
    process = start(config)
    process.load_state_bytes((folder / f"{name}-sharded.state").read_bytes())
    save_policy(process.worker.policy, folder / f"{name}-plain")
    plain = load_policy(str(folder / f"{name}-plain"), device=torch.device("cpu"))
    for mine, true in zip(saved.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(mine, true)
    if name != "half":
        metrics = evaluate_held_out(saved, process.worker.task, config.evaluation, config.grpo).metrics
        assert metrics.to_dict() == ranks[0][name, "sharded"]["evaluation"]
    process.close()


# --- resume ---


def resume_main(rank: int, world_size: int, folder: str) -> None:
    """Steps after a state: uninterrupted, and resumed by ranks with divided and with whole parameters."""
    join(rank, world_size, folder)
    found = {}
    for name in ("plain", "adapters"):
        first = started(config_of(True, **CASES[name]), f"{name}-first")
        first.run(STEPS)
        blocks = [first.state_bytes()]
        dist.broadcast_object_list(blocks)
        found[name, "uninterrupted"] = trained(first.run(STEPS))
        for kind in ("sharded", "whole"):
            process = started(config_of(kind == "sharded", **CASES[name]), f"{name}-{kind}")
            process.evaluate()  # leaves the embeddings gathered
            process.load_state_bytes(blocks[0])
            found[name, kind] = trained(process.run(STEPS))
            process.close()
        first.close()
        if rank == 0:
            Path(folder, f"{name}.state").write_bytes(blocks[0])
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[Any, Any]]]:
    folder = tmp_path_factory.mktemp("resumed")
    return folder, run_ranks(resume_main, RANKS, folder)


@pytest.mark.parametrize("name", ["plain", "adapters"])
def test_a_state_resumes_with_parameters_divided_or_whole(
    resumed: tuple[Path, list[dict[Any, Any]]], name: str
) -> None:
    for rank in resumed[1]:
        assert rank[name, "sharded"] == rank[name, "uninterrupted"]  # bitwise
        for row, true in zip(rank[name, "whole"], rank[name, "uninterrupted"], strict=True):
            assert_close(row, true, 1e-4)
    alone = start(tiny_config(CASES[name]))
    alone.load_state_bytes((resumed[0] / f"{name}.state").read_bytes())
    assert alone.run(1)[0].step == STEPS
    alone.close()


# --- passes ---


def passes_main(rank: int, world_size: int, folder: str) -> None:
    """Completions of a single token on rank 0, and longer ones on rank 1; then memory that runs out."""
    join(rank, world_size, folder)
    found: dict[str, Any] = {}
    for kind in ("sharded", "whole"):
        process = started(config_of(kind == "sharded"), kind)
        if rank == 0:
            process.worker.policy.model.generation_config.eos_token_id = list(range(24))
        rollout = process.worker._roll_out(0).rollout
        found[f"{kind}-ids"], found[f"{kind}-lengths"] = rollout.input_ids, rollout.completion_mask.sum(dim=1)
        found[kind] = trained(process.run(STEPS))
        process.close()
    process = started(config_of(True), "memory")
    process.worker.policy.model.register_forward_pre_hook(_full_while_training)
    try:
        process.run(1)
    except ResourceError as error:
        found["message"] = str(error)
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


def _full_while_training(model: nn.Module, inputs: Any) -> None:
    if torch.is_grad_enabled():
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")


def test_ranks_whose_completions_differ_in_length_do_not_wait_for_ever(tmp_path: Path) -> None:
    ranks = run_ranks(passes_main, RANKS, tmp_path)
    assert ranks[0]["sharded-lengths"].tolist() == [1] * 8
    assert ranks[1]["sharded-lengths"].max() > 3
    for rank in ranks:
        assert torch.equal(rank["sharded-ids"], rank["whole-ids"])
        for row, true in zip(rank["sharded"], rank["whole"], strict=True):
            assert_close(row, true, 1e-4)
        assert "set grpo.micro_batch_tokens to " in rank["message"]


# --- what cannot be ---


def test_layers_that_are_not_known_are_refused_when_the_policy_is_loaded(tmp_path: Path) -> None:
    write_model("ctrl", tmp_path)
    with pytest.raises(ConfigError, match="CTRLLMHeadModel has no layers"):
        load_policy_and_task(config_of(True, **{"policy.model": str(tmp_path)}), torch.device("cpu"), on_cpu=True)


def test_unrolls_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"set controller\.objective\.type=analytic, or train\.fully_shard=false"):
        config_of(True, **{"controller.objective.type": "truncated_backprop"})


def test_one_rank_has_nothing_to_divide() -> None:
    divided, plain = (start(tiny_config({"train.fully_shard": flag})) for flag in (True, False))
    assert not is_sharded(divided.worker.policy.model)
    assert trained(divided.run(2)) == trained(plain.run(2))
