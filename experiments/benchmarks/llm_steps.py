"""Speed, memory and control of `llm_lora.yaml` with a model of random weights, in one process, without Ray.

    python experiments/benchmarks/llm_steps.py --output results/llm_steps

Writes the model (:mod:`make_llm`), trains for some steps or seconds, prints a line for each, and keeps ``summary.json``
up to date: steps a minute, tokens a second, peak memory, H and KL beside their targets.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import make_llm
import torch
from process_memory import status_bytes

from maxent_ray.config.loading import load_config
from maxent_ray.policy import parameter_count
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.rank import RankProcess, RankSpec
from maxent_ray.train.step_record import StepRecord

SHOWN = ("reward", "tau", "beta", "entropy", "kl", "tied_share")


def count_tokens(roll_out: Callable[[int], PreparedBatch], counts: list[int]) -> Callable[[int], PreparedBatch]:
    """The same rollout, which also notes how many tokens it sampled."""

    def counted(step: int) -> PreparedBatch:
        batch = roll_out(step)
        counts.append(int(batch.rollout.completion_mask.sum()))
        return batch

    return counted


def summarise(rows: Sequence[StepRecord], tokens: Sequence[int], peak: int) -> dict[str, Any]:
    """Figures of a run; those of speed without the first step, which also loads code."""
    timed = slice(1 if len(rows) > 1 else 0, None)
    seconds, rollout = (sum(row.signals[name] for row in rows[timed]) for name in ("seconds", "seconds_rollout"))
    late = rows[len(rows) // 2 :]
    names = (*SHOWN, "target_entropy", "target_kl")
    return {
        "steps": len(rows),
        "steps_a_minute": 60 * len(rows[timed]) / seconds,
        "sampled_tokens_a_second": sum(tokens[timed]) / rollout,
        "tokens_a_second": sum(tokens[timed]) / seconds,
        "peak_bytes": peak,
        **{name: fmean(row.signals[name] for row in late) for name in names},
        "first_tau": rows[0].tau,
        "first_beta": rows[0].beta,
    }


def train(process: RankProcess, steps: int, seconds: float, device: str, output: Path) -> None:
    """Train, print a line a step, and write the figures so far after each."""
    worker, rows, tokens = process.worker, [], []
    worker._roll_out = count_tokens(worker._roll_out, tokens)
    model, started = worker.policy.model, time.perf_counter()
    size = {"schema": 1, "device": device, "parameters": parameter_count(model)}
    size["trained"] = sum(each.numel() for each in model.parameters() if each.requires_grad)
    while len(rows) < steps and (len(rows) < 2 or time.perf_counter() - started < seconds):
        rows += process.run(1)
        peak = torch.cuda.max_memory_allocated() if device == "cuda" else status_bytes("VmHWM")
        figures = {**size, **summarise(rows, tokens, peak)}
        (output / "summary.json").write_text(json.dumps(figures, indent=1) + "\n")
        values = "  ".join(f"{name} {rows[-1].signals[name]:.4g}" for name in SHOWN)
        print(f"step {len(rows)}  {rows[-1].seconds:.1f} s  {tokens[-1]} tokens  {values}", flush=True)


def main() -> int:
    """Make the model, train it, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE")
    parser.add_argument("--output", type=Path, default=Path("results/llm_steps"))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--shape", choices=make_llm.SHAPES, default="qwen2.5-0.5b")
    parser.add_argument("--practice", type=int, default=0, help="supervised steps before (default: none)")
    parser.add_argument("--batch", type=int, default=64, help="examples of a supervised step")
    parser.add_argument("--steps", type=int, default=60, help="most policy steps")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no step begins after (from the second on)")
    options = parser.parse_intermixed_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        practice = ["--practice", str(options.practice), "--batch", str(options.batch)]
        status = make_llm.main(["--shape", options.shape, *practice, str(model), *options.overrides])
        if status:
            return status
        if options.device == "cuda":  # peaks are those of training, not of practice
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        config = load_config(make_llm.CONFIG, [f"policy.model={model}", *options.overrides])
        process = RankProcess()
        process.setup(config, RankSpec("llm", 0, 1, use_gpu=options.device == "cuda", local=True))
        try:
            train(process, options.steps, options.seconds, options.device, options.output)
        finally:
            process.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
