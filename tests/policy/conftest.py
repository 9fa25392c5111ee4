from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from maxent_ray.policy import Policy, Rollout, load_policy, sample_groups
from maxent_ray.policy.tokenizer import build_character_tokenizer

PROMPTS = ["2,3,4=9:", "10,11,12=10:", "3,5,12=27:"]


@pytest.fixture(scope="session")
def policy() -> Policy:
    return load_policy("embedded", device=torch.device("cpu"))


@pytest.fixture(scope="session")
def rollout(policy: Policy) -> Rollout:
    return sample_groups(policy, PROMPTS, group_size=4, max_new_tokens=12, temperature=1.0, seed=0)


@pytest.fixture
def gpt2_folder(tmp_path: Path) -> Path:
    """A model of another family: learned absolute positions, dropout, biases."""
    torch.manual_seed(0)
    tokenizer = build_character_tokenizer()
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=40,
        n_embd=16,
        n_layer=2,
        n_head=2,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path
