"""Make the policy that the package ships: a small character-level Llama, warm-started on Countdown.

    python experiments/make_default_policy.py --output maxent_ray/policy/assets/default

Each supervised example is a random training prompt with one of its modes, drawn uniformly, as the answer; the
loss is on the answer only. Training stops while the policy is still mediocre, so that reinforcement
learning can improve it, and collapse it. Seeded and on one thread: a second run on the same machine writes
the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from maxent_ray.policy import Policy, load_policy, parameter_count, sample_groups, save_policy
from maxent_ray.policy.tokenizer import build_character_tokenizer
from maxent_ray.tasks import Countdown, Prompt

BATCH = 128
LEARNING_RATE = 2e-3
DECAY_STEPS = 150
GRADIENT_CLIP = 1.0
GROUP = 8
MAX_NEW_TOKENS = 14
IGNORED = -100  # the label that the loss skips


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
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (steps - step) / DECAY_STEPS)
    )
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


def describe(policy: Policy, task: Countdown, prompts: Sequence[Prompt]) -> str:
    """Mean, pass, distinct and coverage at 8 samples a prompt, temperature 1."""
    rollout = sample_groups(
        policy,
        [prompt.text for prompt in prompts],
        group_size=GROUP,
        max_new_tokens=MAX_NEW_TOKENS,
        temperature=1.0,
        seed=0,
    )
    means, found, coverage = [], [], []
    for index, prompt in enumerate(prompts):
        texts = rollout.completions[index * GROUP : (index + 1) * GROUP]
        grades = [task.grade(prompt, text) for text in texts]
        modes = {grade.mode for grade in grades if grade.mode is not None}
        means.append(statistics.fmean(grade.reward for grade in grades))
        found.append(len(modes))
        coverage.append(len(modes) / len(prompt.modes))
    passed = statistics.fmean(count > 0 for count in found)
    return (
        f"mean@8 {statistics.fmean(means):.3f}  pass@8 {passed:.3f}  "
        f"distinct@8 {statistics.fmean(found):.2f}  coverage@8 {statistics.fmean(coverage):.3f}"
    )


def main() -> None:
    """Train, save, load again as users do, and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the model and its tokenizer")
    parser.add_argument("--steps", type=int, default=350, help="supervised steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(arguments.seed)

    started = time.perf_counter()
    task = Countdown()
    tokenizer = build_character_tokenizer()
    model = build_model(tokenizer)
    print(f"{parameter_count(model):,} parameters")
    print(f"{len(task.train)} training prompts, {len(task.held_out)} held out")
    warm_start(model, tokenizer, task.train, arguments.steps, arguments.seed)
    save_policy(Policy(model, tokenizer, "warm start"), arguments.output)

    policy = load_policy(str(arguments.output), device=torch.device("cpu"))
    print(f"held out:  {describe(policy, task, task.held_out)}")
    print(f"training:  {describe(policy, task, task.train[: len(task.held_out)])}")
    weights = (arguments.output / "model.safetensors").read_bytes()
    print(f"model.safetensors: {len(weights):,} bytes, sha256 {hashlib.sha256(weights).hexdigest()}")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
