"""TRL's GRPOTrainer on Countdown, with the controller at τ and β.

    python experiments/trl_grpo.py --steps 60                        # weights over each group, H* = .95 log G
    python experiments/trl_grpo.py --trainer grpo --target-entropy 0.5  # TRL's own loss: β and entropy_coef
    python experiments/trl_grpo.py --fixed                           # for comparison: τ and β stay where they start

Prints a line every few steps and a table at the end; ``--output`` keeps TRL's log, checkpoints included.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

import maxent_ray
from maxent_ray.integrations import MaxEntCallback, MaxEntGRPOTrainer
from maxent_ray.tasks import Prompt
from maxent_ray.tasks.countdown import CountdownSmall

SHIPPED_POLICY = Path(maxent_ray.__file__).parent / "policy" / "assets" / "countdown_small"
COLUMNS = ("maxent/tau", "maxent/beta", "maxent/entropy", "maxent/kl", "reward")
HEADER = f"{'step':>5} {'τ':>8} {'β':>8} {'H':>7} {'KL':>7} {'reward':>7}"


class ProgressLine(TrainerCallback):
    """A line every few steps, instead of TRL's long dictionaries."""

    def __init__(self, every: int) -> None:
        self.every = every

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Print the newest step."""
        if logs and "maxent/beta" in logs and state.global_step % self.every == 0:
            print(f"{line(state.global_step, logs)}   of {state.max_steps} steps", flush=True)


def line(step: int, logs: Mapping[str, Any]) -> str:
    """One row of the table; a dash for what is not there, as the reward of a step that reuses completions."""
    tau, beta, entropy, kl, reward = (logs.get(name, math.nan) for name in COLUMNS)
    return f"{step:>5} {tau:>8.4f} {beta:>8.4f} {entropy:>7.3f} {kl:>7.4f} {reward:>7.3f}".replace("nan", "  -")


def controller(options: argparse.Namespace) -> dict[str, Any]:
    """Settings of the callback."""
    if options.fixed:
        return {"objective": None}
    targets: dict[str, Any] = {"target_kl": options.target_kl}
    if options.trainer == "listwise":
        return {**targets, "target_entropy_fraction": options.target_entropy_fraction}
    return targets if options.target_entropy is None else {**targets, "target_entropy": options.target_entropy}


def train(options: argparse.Namespace, output: Path) -> list[dict[str, Any]]:
    """Train, and return TRL's log of every step."""
    task = CountdownSmall()
    prompts = {prompt.text: prompt for prompt in task.train}

    def reward(prompts: Sequence[str], completions: Sequence[str], **kwargs: Any) -> list[float]:
        return [task.grade(Prompt(prompt), text).reward for prompt, text in zip(prompts, completions, strict=True)]

    args = GRPOConfig(
        output_dir=str(output),
        per_device_train_batch_size=options.prompts * options.group_size,
        num_generations=options.group_size,
        max_completion_length=14,
        max_steps=options.steps,
        beta=options.beta,
        entropy_coef=0.001 if options.target_entropy is not None and options.trainer == "grpo" else 0.0,
        loss_type="grpo",
        learning_rate=3e-4,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no" if options.save_steps is None else "steps",
        save_steps=options.save_steps or 500,
        report_to=options.report_to,
        seed=options.seed,
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    kind = MaxEntGRPOTrainer if options.trainer == "listwise" else GRPOTrainer
    trainer = kind(
        model=options.model,
        reward_funcs=reward,
        args=args,
        train_dataset=Dataset.from_list([{"prompt": text} for text in prompts]),
        processing_class=AutoTokenizer.from_pretrained(options.model, trust_remote_code=False),
        callbacks=[MaxEntCallback(**controller(options)), ProgressLine(max(1, options.steps // 12))],
    )
    trainer.remove_callback(PrinterCallback)
    print(HEADER, flush=True)
    trainer.train(resume_from_checkpoint=options.resume)
    return [entry for entry in trainer.state.log_history if "maxent/beta" in entry]


def summary(log: Sequence[Mapping[str, Any]]) -> str:
    """Mean relative errors over the second half, of the targets that there are."""
    half = log[len(log) // 2 :]
    found = []
    for name, symbol in (("entropy_error", "|H − H*|/H*"), ("kl_error", "|KL − KL*|/KL*")):
        errors = [abs(entry[f"maxent/{name}"]) for entry in half if f"maxent/{name}" in entry]
        found += [f"{symbol} {fmean(errors):.1%}"] if errors else []
    return f"second half, mean of {len(half)} steps: {', '.join(found) or 'no targets'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer", choices=("listwise", "grpo"), default="listwise")
    parser.add_argument("--steps", type=int, default=60, help="optimisation steps")
    parser.add_argument("--target-kl", type=float, default=0.05, help="KL*, nats per token")
    parser.add_argument("--target-entropy-fraction", type=float, default=0.95, help="listwise: H* as a share of log G")
    parser.add_argument("--target-entropy", type=float, help="grpo: H* of the policy, nats per token; else τ is 0")
    parser.add_argument("--fixed", action="store_true", help="leave τ and β where they start")
    parser.add_argument("--beta", type=float, default=0.1, help="where β starts")
    parser.add_argument("--model", default=str(SHIPPED_POLICY), help="a folder or name that transformers can load")
    parser.add_argument("--prompts", type=int, default=24, help="prompts of a step")
    parser.add_argument("--group-size", type=int, default=8, help="G, completions of a prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="folder for TRL's log and checkpoints; else they are dropped")
    parser.add_argument("--save-steps", type=int, help="steps between checkpoints; else there are none")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --output")
    parser.add_argument("--report-to", nargs="*", default=[], help="trackers that TRL logs to, such as tensorboard")
    options = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory() as scratch:
        log = train(options, options.output or Path(scratch))
    if options.output is not None:
        text = "".join(f"{json.dumps(entry)}\n" for entry in log)
        (options.output / "log.jsonl").write_text(text, encoding="utf-8")
    shown = sorted({1, *range(5, len(log) + 1, max(5, len(log) // 10)), len(log)})
    print("", HEADER, *(line(step, log[step - 1]) for step in shown if step <= len(log)), summary(log), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
