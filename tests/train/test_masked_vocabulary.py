"""A model whose head gives −inf to rows that its tokenizer does not have: it trains, and unrolls, as without them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PhiConfig, PhiForCausalLM

from maxent_ray.policy.tokenizer import build_character_tokenizer
from tests.train.tiny import start, tiny_config

PADDED_ROWS = 9


@pytest.fixture(scope="module")
def masked_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Phi's head has a bias, which masks the rows beyond the tokenizer's tokens."""
    folder: Path = tmp_path_factory.mktemp("masked")
    torch.manual_seed(0)
    tokenizer = build_character_tokenizer()
    config = PhiConfig(
        vocab_size=len(tokenizer) + PADDED_ROWS,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = PhiForCausalLM(config)
    assert isinstance(model.lm_head, nn.Linear)
    with torch.no_grad():
        model.lm_head.bias[len(tokenizer) :] = -math.inf
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("mode", ["reverse", "forward", "first_order"])
def test_training_and_its_hypergradients_are_finite(masked_model: str, mode: str) -> None:
    unroll = {"type": "truncated_backprop", "unroll": {"steps": 2, "groups": 2, "mode": mode}}
    process = start(tiny_config({"policy.model": masked_model, "controller.objective": unroll}))
    rows = process.run(4)
    assert {row.reason for row in rows[1:]} <= {"updated", "clipped"}
    for row in rows:
        assert all(math.isfinite(row.signals[name]) for name in ("kl", "entropy", "policy_entropy", "gradient_norm"))
    assert rows[-1].kl > 0
    tokens = math.log(len(process.worker.policy.tokenizer))
    assert 0 < rows[0].policy_entropy <= tokens
    bias = process.worker.policy.model.lm_head.bias  # type: ignore[union-attr]
    assert bias[-PADDED_ROWS:].isneginf().all()
    process.close()
