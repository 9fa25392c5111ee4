"""The LLM's configuration on a CPU: a model of two layers that practised sums of two small numbers."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))

import make_llm

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import load_config

SUMS = (
    "task.kwargs={size: 200, chat: true, min_numbers: 2, max_numbers: 2, max_value: 4, min_target: 1, max_target: 16}",
    "task.held_out_prompts=16",
    "evaluation.prompts=8",
    "evaluation.samples=4",
)
SMALL = ("grpo.prompts_per_step=4", "grpo.max_new_tokens=16", "grpo.micro_batch_tokens=1024", "grpo.learning_rate=0.01")


def write_tiny(folder: Path) -> None:
    """A model that answers some sums."""
    practice = ["--shape", "tiny", "--practice", "80", "--batch", "8"]
    assert make_llm.main([*practice, str(folder), *SUMS]) == 0


def llm_config(model: Path, *overrides: str) -> ExperimentConfig:
    """``llm_lora.yaml`` with that model."""
    return load_config(make_llm.CONFIG, [f"policy.model={model}", *SUMS, *SMALL, *overrides])
