"""The configuration of an LLM with LoRA, run as it stands with a model of two layers."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Qwen2ForCausalLM

from maxent_ray.config.loading import load_config
from maxent_ray.core.signals import signals_of
from maxent_ray.policy import save_policy
from maxent_ray.train.rank import RankProcess
from maxent_ray.train.step_record import StepRecord
from tests.experiments.tiny_llm import llm_config, make_llm, write_tiny
from tests.train.tiny import start, trained

STEPS = 6
UNKNOWN = {"coverage"}
"""Signals without a value here: nobody lists the right answers of a prompt."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def run(model: Path) -> Iterator[tuple[RankProcess, list[StepRecord], bytes]]:
    """A rank after some steps, its rows, and its state after half of them."""
    process = start(llm_config(model))
    rows = process.run(STEPS // 2)
    state = process.state_bytes()
    rows += process.run(STEPS - STEPS // 2)
    yield process, rows, state
    process.close()


def test_it_is_the_run_that_the_file_says() -> None:
    config = load_config(make_llm.CONFIG)
    assert config.policy.lora is not None and config.policy.gradient_checkpointing
    assert config.policy.dtype == "bfloat16"
    assert config.task.name == "reasoning_gym:countdown" and config.task.kwargs["chat"]
    assert config.grpo.micro_batch_tokens and config.grpo.chunk_tokens
    assert config.controller.moves("tau") and config.controller.moves("beta")


def test_rows_are_complete_and_some_answers_right(run: tuple[RankProcess, list[StepRecord], bytes]) -> None:
    _, rows, _ = run
    assert [row.step for row in rows] == list(range(STEPS))
    for row in rows:
        for signal in signals_of("groups"):
            value = row.signals[signal.name]
            if row.step > 0 and signal.name not in UNKNOWN:
                assert value is not None, signal.name
            assert not isinstance(value, float) or math.isfinite(value) or signal.name in UNKNOWN, signal.name
    assert sum(row.reward for row in rows) > 0
    assert rows[0].kl == pytest.approx(0.0, abs=1e-4)  # adapters begin as 0
    assert rows[-1].kl > 10 * rows[0].kl


def test_coefficients_move_by_decisions(run: tuple[RankProcess, list[StepRecord], bytes]) -> None:
    process, rows, _ = run
    decided = {decision["version"]: decision for decision in process.decisions()}
    assert len({row.tau for row in rows}) > 2 and len({row.beta for row in rows}) > 2
    for row in rows:
        if row.version > 0:
            assert (row.tau, row.beta) == (decided[row.version]["tau"], decided[row.version]["beta"])
            assert decided[row.version]["reason"] in ("updated", "clipped")
    assert rows[-1].version >= STEPS - 2


def test_a_run_resumes_from_its_adapters(model: Path, run: tuple[RankProcess, list[StepRecord], bytes]) -> None:
    _, rows, state = run
    process = start(llm_config(model))
    process.load_state_bytes(state)
    again = process.run(STEPS - STEPS // 2)
    process.close()
    assert repr(trained(again)) == repr(trained(rows[STEPS // 2 :]))  # as text, in which nan is nan
    assert len(state) < 4 * (model / "model.safetensors").stat().st_size


@pytest.mark.parametrize("mode", ["first_order", "reverse"])
def test_an_unroll_over_its_adapters(model: Path, mode: str) -> None:
    unroll = f"{{type: truncated_backprop, unroll: {{steps: 1, groups: 1, mode: {mode}}}}}"
    process = start(llm_config(model, f"controller.objective={unroll}"))
    rows = process.run(3)
    process.close()
    assert rows[-1].failed_unrolls == 0
    assert {row.reason for row in rows[1:]} <= {"updated", "clipped"}


def test_the_saved_policy_is_a_plain_model(
    model: Path, run: tuple[RankProcess, list[StepRecord], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, _, _ = run
    policy = process.worker.policy
    save_policy(policy, tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)  # an import of it fails
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert type(loaded) is Qwen2ForCausalLM
    before, after = (load_file(folder / "model.safetensors") for folder in (model, tmp_path))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    ids = torch.tensor([policy.tokenizer("3+4").input_ids])
    with torch.no_grad():
        found, expected = loaded(ids).logits, policy.model(ids).logits.float()
        untrained = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)(ids).logits
    assert (found - expected).abs().max() < 0.3 * (found - untrained).abs().max()
