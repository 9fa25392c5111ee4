"""Make a policy that the package ships: a small character-level Llama, warm-started on one task.

    python experiments/make_policies.py --task countdown

Each supervised example is a random prompt of the task's warm start with one of its modes, drawn uniformly, as
the answer; the loss is on the answer only. Training stops while the policy is still mediocre, so that
reinforcement learning can improve it, and collapse it. Seeded and on one thread: a second run on the same
machine writes the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

import maxent_ray
from maxent_ray.evaluation.held_out import grade_completions
from maxent_ray.policy import Policy, load_policy, parameter_count, sample_groups, save_policy
from maxent_ray.policy.tokenizer import build_character_tokenizer
from maxent_ray.tasks import Prompt, Task, build_task

STEPS = {"countdown": 600, "countdown_small": 350, "graph_coloring": 600}
ASSETS = Path(maxent_ray.__file__).parent / "policy" / "assets"
BATCH = 128
LEARNING_RATE = 2e-3
DECAY_STEPS = 150
GRADIENT_CLIP = 1.0
GROUP = 8
MAX_NEW_TOKENS = 14
IGNORED = -100  # the label that the loss skips


class WarmStarted(Task, Protocol):
    """Task that keeps prompts for a supervised warm start."""

    @property
    def warm_start(self) -> Sequence[Prompt]:
        """Prompts with their modes."""
        ...


def build_model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """Half a million parameters, seeded by the caller."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=64,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def draw_batch(
    prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase, generator: random.Random
) -> tuple[dict[str, Tensor], Tensor]:
    """Random prompts, each with a random mode: model inputs and labels, padded on the right."""
    chosen = generator.choices(prompts, k=BATCH)
    # Sorted: the order of a set of strings changes from process to process.
    answers = [generator.choice(sorted(prompt.modes)) + tokenizer.eos_token for prompt in chosen]
    texts = [prompt.text + answer for prompt, answer in zip(chosen, answers, strict=True)]
    inputs = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, IGNORED)
    for row, prompt in enumerate(chosen):
        labels[row, : len(prompt.text)] = IGNORED
    return dict(inputs), labels


def warm_start(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    steps: int,
    seed: int,
) -> None:
    """Train in place: AdamW, constant rate, then linear to zero over the last steps."""
    generator = random.Random(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (steps - step) / DECAY_STEPS))
    model.train()
    for step in range(1, steps + 1):
        inputs, labels = draw_batch(prompts, tokenizer, generator)
        loss = model(**inputs, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            print(f"step {step:4d}/{steps}  loss {loss.item():.3f} nats per answer token", flush=True)
    model.eval()


def describe(policy: Policy, task: Task, prompts: Sequence[Prompt]) -> str:
    """Mean, pass, distinct and coverage at 8 samples a prompt, temperature 1."""
    texts = [prompt.text for prompt in prompts]
    rollout = sample_groups(policy, texts, group_size=GROUP, max_new_tokens=MAX_NEW_TOKENS, temperature=1.0, seed=0)
    groups = [rollout.completions[first : first + GROUP] for first in range(0, len(texts) * GROUP, GROUP)]
    metrics = grade_completions(task, prompts, groups)
    return (
        f"mean@8 {metrics.mean:.3f}  pass@8 {metrics.pass_rate:.3f}  "
        f"distinct@8 {metrics.distinct:.2f}  coverage@8 {metrics.coverage:.3f}"
    )


def make_policy(task: WarmStarted, output: Path, steps: int, seed: int) -> None:
    """Train and save."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    tokenizer = build_character_tokenizer()
    model = build_model(tokenizer)
    print(f"{parameter_count(model):,} parameters")
    print(f"{len(task.warm_start)} prompts for the warm start, {len(task.held_out)} held out")
    warm_start(model, tokenizer, task.warm_start, steps, seed)
    save_policy(Policy(model, tokenizer, "warm start"), output)


def main() -> None:
    """Train, save, load again as users do, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=STEPS, required=True, help="name of the task")
    parser.add_argument("--output", type=Path, help="folder for model and tokenizer (default: the package's)")
    parser.add_argument("--steps", type=int, help=f"supervised steps (default: of the task, {STEPS})")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (default: %(default)s)")
    arguments = parser.parse_args()

    started = time.perf_counter()
    task: Any = build_task(arguments.task)
    output = arguments.output or ASSETS / arguments.task
    make_policy(task, output, arguments.steps or STEPS[arguments.task], arguments.seed)

    policy = load_policy(str(output.absolute()), device=torch.device("cpu"))
    print(f"held out:    {describe(policy, task, task.held_out)}")
    print(f"warm start:  {describe(policy, task, task.warm_start[: len(task.held_out)])}")
    weights = (output / "model.safetensors").read_bytes()
    print(f"model.safetensors: {len(weights):,} bytes, sha256 {hashlib.sha256(weights).hexdigest()}")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
