"""A tiny language model, prompts and a reward, for GRPOTrainers that step in a tenth of a second."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers loads: everything is in local folders

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM
from trl import GRPOConfig, GRPOTrainer

from maxent_ray.policy.tokenizer import build_character_tokenizer


def tiny_model(folder: Path, *, vocabulary: str = "0123456789abcdef$") -> str:
    """Save a Llama of 15 thousand parameters with its tokenizer; the same weights every time."""
    tokenizer = build_character_tokenizer(vocabulary)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def arguments(folder: Path, **changes: Any) -> GRPOConfig:
    """TRL's arguments for a short run on the CPU."""
    usual: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 16,
        "num_generations": 4,
        "max_completion_length": 6,
        "max_steps": 4,
        "beta": 0.1,
        "learning_rate": 3e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "seed": 0,
    }
    return GRPOConfig(**{**usual, **changes})


def letters(completions: list[str], **kwargs: Any) -> list[float]:
    """Reward: the share of the letters a, b and c."""
    return [sum(text.count(letter) for letter in "abc") / max(1, len(text)) for text in completions]


def prompts(count: int = 64) -> Dataset:
    """Prompts of three digits."""
    return Dataset.from_list([{"prompt": f"{i % 10}{i * 7 % 10}{i * 3 % 10}"} for i in range(count)])


def build(model: str, args: GRPOConfig, *callbacks: Any, kind: type[GRPOTrainer] = GRPOTrainer) -> GRPOTrainer:
    """A trainer that is ready to train."""
    return kind(model=model, reward_funcs=letters, args=args, train_dataset=prompts(), callbacks=list(callbacks))


def logged(trainer: GRPOTrainer, name: str) -> list[float]:
    """A metric at every logged step, oldest first."""
    return [entry[f"maxent/{name}"] for entry in trainer.state.log_history if f"maxent/{name}" in entry]
