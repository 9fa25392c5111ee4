"""Does the memory of a policy step grow with its batch, or with what is in memory at a time?

    python experiments/benchmarks/step_memory.py --output experiments/results/step_memory

A two-layer model with a vocabulary of 152,000 scores sequences of 512 new tokens under policy and reference, and makes
the gradient of the loss, for batches of different size, chunks of logits and micro-batches. Each case has a process of
its own, which measures the peak of its resident memory (on a GPU: of allocated memory) above what model, batch and code
need. Prints a table and writes ``summary.json``.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from process_memory import status_bytes
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM

from maxent_ray.config import GRPOConfig
from maxent_ray.core.state import Coefficients
from maxent_ray.core.weightings import GRPOWeighting
from maxent_ray.evaluation.held_out import metrics_of_grades
from maxent_ray.policy import Rollout
from maxent_ray.tasks import Grade, Prompt
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.micro_batches import predict_in_parts
from maxent_ray.train.policy_gradient import PolicyGradient

VOCABULARY, WIDTH, LAYERS, HEADS = 152_000, 64, 2, 2
PROMPT, NEW, GROUP = 8, 512, 8


@dataclass(frozen=True)
class Case:
    """Sizes of a batch, and of what is in memory of it at a time."""

    sequences: int
    chunk_tokens: int
    micro_batch_tokens: int | None = None
    new_tokens: int = NEW


CASES = (
    Case(16, 128),
    Case(32, 128),
    Case(64, 128),
    Case(64, 512),
    Case(64, 128, micro_batch_tokens=8 * (PROMPT + NEW)),
)


@dataclass(frozen=True)
class Peak:
    """Memory and time of one case."""

    peak_bytes: int
    logits_bytes: int
    """Of a single tensor of the batch's tokens by the vocabulary."""
    seconds: float


def measure(case: Case, device: str) -> Peak:
    """Make one gradient, in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=PROMPT + case.new_tokens,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).to(device).eval()
    gradient_of(model, Case(2, 16, new_tokens=case.new_tokens), device)  # loads code, makes gradients
    gc.collect()
    before = _allocated(device)
    started = time.perf_counter()
    gradient_of(model, case, device)
    seconds = time.perf_counter() - started
    logits = case.sequences * case.new_tokens * VOCABULARY * 4
    return Peak(_peak(device) - before, logits, round(seconds, 1))


def gradient_of(model: LlamaForCausalLM, case: Case, device: str) -> None:
    """Read a batch of random sequences under the reference, and add its gradient to the parameters'."""
    settings = {"chunk_tokens": case.chunk_tokens, "micro_batch_tokens": case.micro_batch_tokens}
    grpo = GRPOConfig(max_new_tokens=case.new_tokens, group_size=2 if case.sequences < GROUP else GROUP, **settings)
    ids = torch.randint(VOCABULARY, (case.sequences, PROMPT + case.new_tokens), device=device)
    done = torch.ones(case.sequences, case.new_tokens, dtype=torch.bool, device=device)
    texts = [""] * case.sequences
    rollout = Rollout(ids, torch.ones_like(ids), done, texts, prompt_length=PROMPT, group_size=grpo.group_size)
    rewards = torch.rand(case.sequences // grpo.group_size, grpo.group_size, device=device)
    reference = predict_in_parts(model, rollout, grpo.micro_batch_tokens, 1.0)
    graded = metrics_of_grades([Prompt("")] * len(rewards), [[Grade(0.0)] * grpo.group_size] * len(rewards))
    batch = PreparedBatch(rollout, rewards, None, reference, torch.zeros_like(rewards), graded, None)
    PolicyGradient(
        model,
        batch,
        Coefficients(0.3, 0.1, version=0, step=0),
        grpo=grpo,
        weighting=GRPOWeighting(),
        kl_tokens=done.sum(),
        weights=None,
        precision=lambda: torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"),
    ).backward()


def _allocated(device: str) -> int:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return status_bytes("VmRSS")


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device == "cuda" else status_bytes("VmHWM")


def table(found: Sequence[tuple[Case, Peak]]) -> Table:
    """Rows of the cases."""
    shown = Table("sequences × tokens", "chunk", "micro-batch", "one tensor of logits", "peak", "seconds")
    for case, peak in found:
        shown.add_row(
            f"{case.sequences} × {case.new_tokens}",
            str(case.chunk_tokens),
            "whole" if case.micro_batch_tokens is None else f"{case.micro_batch_tokens} tokens",
            f"{peak.logits_bytes / 1e9:.1f} GB",
            f"{peak.peak_bytes / 1e9:.2f} GB",
            f"{peak.seconds:g}",
        )
    return shown


def main() -> None:
    """Measure all cases, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/step_memory"))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cases", type=int, default=len(CASES), metavar="N", help="the first N (default: all)")
    parser.add_argument("--new-tokens", type=int, default=NEW, help="of a sequence (default: %(default)s)")
    arguments = parser.parse_args()
    context, found = multiprocessing.get_context("spawn"), []
    for chosen in track(CASES[: arguments.cases], description="cases"):
        case = replace(chosen, new_tokens=arguments.new_tokens)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            found.append((case, pool.submit(measure, case, arguments.device).result()))
    Console().print(table(found))
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(case), **asdict(peak)} for case, peak in found]
    result = {"schema": 1, "device": arguments.device, "vocabulary": VOCABULARY, "cases": rows}
    (arguments.output / "summary.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
