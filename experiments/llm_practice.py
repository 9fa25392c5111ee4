"""Practice: supervised steps on a task's training prompts, after which a model of random weights answers some."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

LEARNING_RATE = {"cpu": 5e-3, "cuda": 4e-4}
"""Of a tiny model, and of one that takes a GPU."""
WARM_UP = 0.1
"""Share of the steps in which the learning rate rises; it then falls to 0."""
GRADIENT_CLIP = 1.0


def practise(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[tuple[str, str]],
    steps: int,
    batch: int,
    seed: int,
) -> None:
    """Train a model in place, and print its progress.

    Args:
        model: In float32; forward passes on a GPU are in bfloat16.
        tokenizer: With a chat template.
        examples: Questions and answers.
        steps: Optimiser steps.
        batch: Examples of a step.
        seed: Of the order.
    """
    device, draw, started = model.device, random.Random(seed), time.perf_counter()
    encoded = [_encode(tokenizer, question, answer) for question, answer in examples]
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE[device.type], weight_decay=0.0)
    warm_up = max(1, round(WARM_UP * steps))
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min((k + 1) / warm_up, (steps - k) / steps))
    for step in range(1, steps + 1):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            loss = _loss(model, draw.choices(encoded, k=batch), int(tokenizer.pad_token_id))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
        optimizer.step()
        rate.step()
        if step % max(1, steps // 10) == 0:
            seconds = time.perf_counter() - started
            print(f"practice: step {step}/{steps}, {loss.item():.2f} nats an answer token, {seconds:.0f} s", flush=True)


def _encode(tokenizer: PreTrainedTokenizerBase, question: str, answer: str) -> tuple[list[int], list[int]]:
    """Tokens of a chat that asks, and of its answer with the end, as sampling would put them together."""
    chat = [{"role": "user", "content": question}]
    asked = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (asked, answer)]
    return ids[0], [*ids[1], int(tokenizer.eos_token_id)]


def _loss(model: PreTrainedModel, examples: Sequence[tuple[list[int], list[int]]], padding: int) -> Tensor:
    """Cross-entropy of the answers; logits are formed for their tokens alone."""
    width = max(len(asked) + len(answer) for asked, answer in examples)
    ids = torch.full((len(examples), width), padding)
    answers = torch.zeros(len(examples), width, dtype=torch.bool)
    for row, (asked, answer) in enumerate(examples):
        end = len(asked) + len(answer)
        ids[row, :end] = torch.tensor([*asked, *answer])
        answers[row, len(asked) : end] = True
    ids, answers = ids.to(model.device), answers.to(model.device)
    # Padded on the right: no token sees padding, so that no mask is needed.
    states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    logits = model.get_output_embeddings()(states[answers[:, 1:]])
    return cross_entropy(logits.float(), ids[:, 1:][answers[:, 1:]])
