from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING

from maxent_ray.errors import ConfigError
from maxent_ray.policy import check_prompts, completion_logits, load_policy, sample_groups
from maxent_ray.policy.position_limit import position_limit
from tests.policy.families import write_model

CPU = torch.device("cpu")
LONGROPE = {"rope_type": "longrope", "original_max_position_embeddings": 32, "rope_theta": 1e4}
FACTORS = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}


@pytest.mark.parametrize(
    ("family", "settings", "limit"),
    [
        ("gpt2", {"n_positions": 16}, 16),
        ("llama", {"max_position_embeddings": 32}, 32),
        ("mpt", {"max_seq_len": 48}, 48),
        ("whisper", {"max_target_positions": 44}, 44),
        ("gemma3", {"text_config": {"max_position_embeddings": 40}}, 40),
        ("bloom", {}, None),
        ("mamba", {}, None),
        ("xlnet", {}, None),
    ],
)
def test_where_families_have_it(family: str, settings: dict[str, Any], limit: int | None) -> None:
    assert position_limit(CONFIG_MAPPING[family](**settings)) == limit


def test_rotary_positions_that_change_with_the_length() -> None:
    """Above their original length all positions differ from what a cache holds of the tokens before."""
    config = CONFIG_MAPPING["phi3"](
        hidden_size=32,
        num_attention_heads=4,
        max_position_embeddings=64,
        original_max_position_embeddings=32,
        rope_parameters={**LONGROPE, **FACTORS},
    )
    assert position_limit(config) == 32


def test_a_completion_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    write_model("gpt2", tmp_path, max_position_embeddings=16)
    policy = load_policy(str(tmp_path), device=CPU)
    with pytest.raises(ConfigError) as caught:
        sample_groups(policy, ["2,3,4=9:", "10,11,12=10:"], group_size=2, max_new_tokens=14, temperature=1.0, seed=0)
    assert "max_new_tokens is 14" in str(caught.value)
    assert "has 16 positions" in str(caught.value)
    assert "of 12 tokens; set grpo.max_new_tokens=5" in str(caught.value)


@pytest.mark.parametrize("family", ["gpt2", "opt", "biogpt", "ctrl", "codegen", "llama"])
def test_the_longest_sequence_that_fits_works(family: str, tmp_path: Path) -> None:
    """Some tables of positions have rows more than that, some do not."""
    write_model(family, tmp_path, max_position_embeddings=16)
    policy = load_policy(str(tmp_path), device=CPU)
    policy.model.generation_config.eos_token_id = None  # type: ignore[union-attr]
    rollout = sample_groups(policy, ["10,11,12=10:"], group_size=64, max_new_tokens=5, temperature=2.0, seed=0)
    assert rollout.completion_mask.shape[1] == 5
    assert bool(completion_logits(policy.model, rollout).isfinite().all())


def test_the_longest_prompt_of_many_decides(tmp_path: Path) -> None:
    write_model("gpt2", tmp_path, max_position_embeddings=16)
    policy = load_policy(str(tmp_path), device=CPU)
    prompts = ["3=3:"] * 600 + ["10,11,12=10:"] + ["3=3:"] * 600
    check_prompts(policy, prompts, max_new_tokens=5)
    with pytest.raises(ConfigError, match=r"of 12 tokens \('10,11,12=10:'\); set grpo"):
        check_prompts(policy, prompts, max_new_tokens=6)
    with pytest.raises(ConfigError, match=r"fewer than the tokens of the longest prompt, of 17 .*; take shorter"):
        check_prompts(policy, ["10,11,12,13,14=1:"], max_new_tokens=1)
