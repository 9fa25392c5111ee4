"""Runs that train adapters: the reference stays, states resume, every hypergradient mode works, ranks agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from maxent_ray.errors import ResumeError
from maxent_ray.train.rank import RankProcess
from tests.train.tiny import start, tiny_config, trained

LORA = {"policy.lora": {"rank": 4}, "grpo.learning_rate": 0.01}


def steps(process: RankProcess, count: int) -> list[dict[str, Any]]:
    return trained(process.run(count))


def test_kl_is_against_the_model_without_adapters() -> None:
    process = start(tiny_config(LORA))
    model = process.worker.policy.model
    assert process.worker.reference is model
    frozen = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    rows = process.run(4)
    assert rows[0].kl == pytest.approx(0.0, abs=1e-6)
    assert rows[-1].kl > 1e-3
    own = dict(model.named_parameters())
    assert all(torch.equal(own[name], value) for name, value in frozen.items())
    process.close()


def test_a_run_resumes_bitwise_from_the_adapters_alone() -> None:
    config = tiny_config(LORA)
    first = start(config)
    steps(first, 2)
    state = first.state_bytes()
    rest = steps(first, 2)
    first.close()
    second = start(config)
    second.load_state_bytes(state)
    assert steps(second, 2) == rest
    second.close()
    whole = start(tiny_config())
    steps(whole, 1)
    assert len(state) < len(whole.state_bytes()) / 3
    with pytest.raises(ResumeError, match=r"resume with policy\.model and policy\.lora as they were"):
        whole.load_state_bytes(state)
    whole.close()


@pytest.mark.parametrize("mode", ["forward", "reverse", "first_order", "auto"])
def test_every_mode_unrolls_over_the_adapters(mode: str) -> None:
    unroll = {"type": "truncated_backprop", "unroll": {"steps": 2, "groups": 2, "mode": mode}}
    process = start(tiny_config({**LORA, "controller.objective": unroll}))
    rows = process.run(4)
    assert {row.reason for row in rows[1:]} <= {"updated", "clipped"}
    assert rows[-1].failed_unrolls == 0
    process.close()


def test_checkpointed_layers_and_micro_batches_train_alike() -> None:
    plain = start(tiny_config(LORA))
    expected = plain.run(2)
    plain.close()
    small = {"policy.gradient_checkpointing": True, "grpo.micro_batch_tokens": 60, "grpo.chunk_tokens": 7}
    process = start(tiny_config({**LORA, **small}))
    for row, other in zip(process.run(2), expected, strict=True):
        assert row.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-4)
        assert row.kl == pytest.approx(other.kl, rel=1e-3, abs=1e-7)
    process.close()
