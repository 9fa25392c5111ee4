"""Speed of sampling against transformers, and of a training step against TRL: same model, batch, settings and threads.

    python experiments/benchmarks/sampling.py --output experiments/results/sampling

Everything lives in this process and takes turns, A B B A …: sampling with `model.generate`, a step with TRL's
GRPOTrainer, whose own gradient checkpointing is off. The policies stay where they start, so that all sample from the
same distribution. Seconds of the process's own CPU time are given beside those of the clock: they depend less on what
else the machine does. Prints the tables and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers loads: everything is in local folders

import torch
from datasets import Dataset
from median_interval import median_interval
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sampling_cases import Case, embedded_case, words_case
from transformers import AutoTokenizer, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from maxent_ray.config.loading import load_config
from maxent_ray.policy import Policy, encode_prompts, load_policy, sample_groups
from maxent_ray.tasks import Prompt, Task, build_task
from maxent_ray.train.rank import RankProcess, RankSpec

WARM_UP = 2
"""Turns that are not counted."""


def main() -> None:
    """Measure all cases; write each, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/sampling"))
    parser.add_argument("--repeats", type=int, default=20, help="turns of each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", nargs="+", choices=("embedded", "words"), default=("embedded", "words"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        results = {}
        for name in arguments.cases:
            case = embedded_case() if name == "embedded" else words_case(Path(scratch))
            results[name] = measure(case, arguments.repeats, arguments.threads, Path(scratch), name)
            summary = {"schema": 1, "threads": arguments.threads, "repeats": arguments.repeats, **results[name]}
            (arguments.output / f"{name}.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    Console().print(table(results))


def measure(case: Case, repeats: int, threads: int, scratch: Path, name: str) -> dict[str, Any]:
    """Compare sampling and steps of one case."""
    torch.set_num_threads(threads)
    task = build_task(case.task)
    found = {"sampling": compare_sampling(case, task, repeats, f"{name}: sampling")}
    for beta in (0.0, 0.1):
        found[f"step, beta = {beta:g}"] = compare_steps(case, task, beta, repeats, threads, scratch)
    return found


def compare_sampling(case: Case, task: Task, repeats: int, description: str) -> dict[str, Any]:
    """Sample the same prompts with both; the ratio is that of tokens a second."""
    policy = load_policy(case.model, device=torch.device("cpu"))
    seconds: dict[str, list[dict[str, float]]] = {"ours": [], "other": []}
    for turn in track(range(repeats + WARM_UP), description=description):
        first = turn * case.prompts % (len(task.train) - case.prompts)
        texts = [prompt.text for prompt in task.train[first : first + case.prompts]]
        takes: dict[str, Callable[[], int]] = {
            "ours": lambda texts=texts, turn=turn: ours(case, policy, texts, turn),  # type: ignore[misc]
            "other": lambda texts=texts, turn=turn: generated(case, policy, texts, turn),  # type: ignore[misc]
        }
        for each in list(takes) if turn % 2 == 0 else reversed(takes):
            tokens, spent = timed(takes[each])
            seconds[each].append({clock: value / tokens for clock, value in spent.items()})
    return {**ratios(seconds), "tokens_per_second": {each: 1 / _median(seconds[each], "wall") for each in seconds}}


def ours(case: Case, policy: Policy, texts: Sequence[str], seed: int) -> int:
    """Sample with this package; returns the number of tokens."""
    rollout = sample_groups(
        policy,
        texts,
        group_size=case.group_size,
        max_new_tokens=case.max_new_tokens,
        temperature=1.0,
        seed=seed,
    )
    return int(rollout.completion_mask.sum())


def generated(case: Case, policy: Policy, texts: Sequence[str], seed: int) -> int:
    """Sample with transformers; returns the number of tokens up to and with the ends."""
    torch.manual_seed(seed)
    ids, mask = encode_prompts(policy, texts)
    with torch.no_grad():
        sequences = policy.model.generate(
            input_ids=ids,
            attention_mask=mask,
            num_return_sequences=case.group_size,
            max_new_tokens=case.max_new_tokens,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            eos_token_id=list(policy.end_ids),
            pad_token_id=policy.tokenizer.pad_token_id,
        )
    policy.tokenizer.batch_decode(sequences[:, ids.shape[1] :], skip_special_tokens=True)
    ended = torch.isin(sequences[:, ids.shape[1] :], torch.tensor(policy.end_ids)).cumsum(dim=1)
    return int((ended == 0).sum() + (ended.diff(dim=1, prepend=ended.new_zeros(len(ended), 1)) * (ended == 1)).sum())


class Turns(TrainerCallback):
    """Times TRL's steps, and takes one of ours after each."""

    def __init__(self, step: Callable[[], object]) -> None:
        self.step = step
        self.seconds: dict[str, list[dict[str, float]]] = {"ours": [], "other": []}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clocks."""
        self.started = clocks()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop them, and take our turn."""
        self.seconds["other"].append(since(self.started))
        self.seconds["ours"].append(timed(self.step)[1])


def compare_steps(case: Case, task: Task, beta: float, repeats: int, threads: int, scratch: Path) -> dict[str, Any]:
    """Take whole training steps with both; ours always scores the reference, and has the controller in it."""
    process = RankProcess()
    process.setup(
        load_config(overrides=[f"{key}={value}" for key, value in case.settings().items()]),
        RankSpec("benchmark", rank=0, world_size=1, use_gpu=False, local=True),
    )
    torch.set_num_threads(threads)
    prompts = {prompt.text: prompt for prompt in task.train}

    def reward(prompts: Sequence[str], completions: Sequence[str], **kwargs: Any) -> list[float]:
        return [task.grade(Prompt(prompt), text).reward for prompt, text in zip(prompts, completions, strict=True)]

    turns = Turns(lambda: process.run(1))
    trainer = GRPOTrainer(
        model=case.model,
        reward_funcs=reward,
        args=trl_arguments(case, beta, repeats, scratch),
        train_dataset=Dataset.from_list([{"prompt": text} for text in prompts]),
        processing_class=AutoTokenizer.from_pretrained(case.model, trust_remote_code=False),
        callbacks=[turns],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    process.close()
    seconds = {each: values[WARM_UP:] for each, values in turns.seconds.items()}
    return {**ratios(seconds), "seconds": {each: _median(seconds[each], "wall") for each in seconds}}


def trl_arguments(case: Case, beta: float, repeats: int, scratch: Path) -> GRPOConfig:
    """TRL's settings of the same step."""
    return GRPOConfig(
        output_dir=str(scratch / "trl"),
        per_device_train_batch_size=case.prompts * case.group_size,
        num_generations=case.group_size,
        max_completion_length=case.max_new_tokens,
        max_steps=repeats + WARM_UP,
        beta=beta,
        loss_type="grpo",
        learning_rate=1e-12,
        lr_scheduler_type="constant",
        gradient_checkpointing=False,
        logging_steps=10_000,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )


def clocks() -> dict[str, float]:
    """The time by each clock."""
    return {"wall": time.perf_counter(), "cpu": time.process_time()}


def since(started: dict[str, float]) -> dict[str, float]:
    """Seconds by each clock."""
    return {clock: now - started[clock] for clock, now in clocks().items()}


def timed(call: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Call, and tell what came back and how long it took."""
    started = clocks()
    value = call()
    return value, since(started)


def ratios(seconds: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """By clock, the median of the turns' ratios of the other's time to ours, and its 95 % interval."""
    found = {}
    for clock in ("wall", "cpu"):
        pairs = zip(seconds["other"], seconds["ours"], strict=True)
        values = [other[clock] / mine[clock] for other, mine in pairs]
        found[clock] = {"median_ratio": statistics.median(values), "interval": median_interval(values)}
    return found


def _median(turns: Sequence[dict[str, float]], clock: str) -> float:
    return statistics.median(turn[clock] for turn in turns)


def table(results: dict[str, Any]) -> Table:
    """One row a comparison and clock."""
    shown = Table("case", "compared", "other", "ours", "clock", "ratio", "95 % interval")
    for case, comparisons in results.items():
        for compared, found in comparisons.items():
            unit, values = ("tokens/s", "tokens_per_second") if "tokens_per_second" in found else ("s", "seconds")
            digits = 0 if unit == "tokens/s" else 3
            both = [f"{found[values][each]:.{digits}f} {unit}" for each in ("other", "ours")]
            for clock in ("wall", "cpu"):
                low, high = found[clock]["interval"]
                ratio = f"{found[clock]['median_ratio']:.2f}"
                shown.add_row(case, compared, *both, clock, ratio, f"{low:.2f} … {high:.2f}")
    return shown


if __name__ == "__main__":
    main()
