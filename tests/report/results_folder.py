"""A made-up but plausible results folder: 8 trials and 2 references of 60 steps, 3 clones."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import apply_overrides, dump_config
from maxent_ray.storage.run_files import sample_records

STEPS = 60
PROMPTS = 128
TARGET_ENTROPY = 0.95 * math.log(8)
OBJECTIVES = ("analytic", "truncated_backprop")
CLONES = (
    (20, "analytic-3", "analytic-1"),
    (20, "truncated_backprop-0", "truncated_backprop-2"),
    (40, "analytic-0", "analytic-3"),
    (40, "truncated_backprop-3", "truncated_backprop-2"),
)


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def row(trial: str, objective: str, step: int, **values: Any) -> dict[str, Any]:
    """One row with made-up values, some of them replaced."""
    return {
        "step": step,
        "rank": 0,
        "objective": objective,
        "tau": 0.3,
        "beta": 0.1,
        "version": step,
        "reward": 0.35,
        "pass_rate": 0.7,
        "distinct": 1.4,
        "coverage": 0.36,
        "entropy": TARGET_ENTROPY,
        "target_entropy": TARGET_ENTROPY,
        "kl": 0.05,
        "target_kl": 0.05,
        "policy_entropy": 0.8,
        "tied_share": 0.3,
        "loss": 0.01,
        "gradient_norm": 0.5,
        "seconds": 0.4,
        "seconds_rollout": 0.2,
        "seconds_hypergradient": 0.0,
        "seconds_controller": 0.001,
        "reason": "updated",
        "failed_unrolls": 0,
        "decided_locally": 0,
        "trial": trial,
        "segment": 0,
        **values,
    }


def held_out(coverage: float, mean: float, seed: int, prompts: int = PROMPTS) -> dict[str, Any]:
    """``HeldOutMetrics.to_dict()`` of prompts whose difficulty does not depend on the seed."""
    hard, noise = random.Random(7), random.Random(seed)
    per_prompt: dict[str, list[float]] = {"mean": [], "pass_rate": [], "distinct": [], "coverage": []}
    for _ in range(prompts):
        modes, ease = hard.randint(2, 8), hard.uniform(-0.3, 0.3)
        found = sum(noise.random() < min(0.95, max(0.0, coverage + ease)) for _ in range(modes))
        share = min(1.0, max(0.0, mean + ease + noise.uniform(-0.2, 0.2)))
        right = min(8, max(found, round(8 * share))) if found else 0
        per_prompt["mean"].append(right / 8)
        per_prompt["pass_rate"].append(float(found > 0))
        per_prompt["distinct"].append(float(found))
        per_prompt["coverage"].append(found / modes)
    averages = {name: sum(values) / prompts for name, values in per_prompt.items()}
    return {**averages, "prompts": prompts, "samples": 8, "per_prompt": per_prompt}


def write_results(
    folder: Path, *, lineage: bool = True, references: bool = True, evaluations: bool = True
) -> Path:
    """Write a results folder; parts can be left out."""
    folder.mkdir(parents=True, exist_ok=True)
    dump_config(apply_overrides(ExperimentConfig(), {"train.steps": STEPS}), folder / "config.yaml")
    clones = CLONES if lineage else ()
    trials = [(f"{objective}-{i}", objective, i) for objective in OBJECTIVES for i in range(4)]
    rows = [r for trial, objective, i in trials for r in _trajectory(trial, objective, i, clones)]
    finished = [
        {
            "trial": trial,
            "objective": objective,
            "settings": _settings(i),
            "metrics": held_out(0.36 + 0.01 * i, 0.40, seed=i + 10 * len(objective)),
        }
        for trial, objective, i in trials
    ]
    if references:
        rows += _reference_rows("grpo") + _reference_rows("fixed")
        finished += [
            {
                "trial": "warm_start",
                "objective": "warm_start",
                "settings": {},
                "metrics": held_out(0.38, 0.3, 91),
            },
            {"trial": "grpo", "objective": "grpo", "settings": {}, "metrics": held_out(0.22, 0.43, 92)},
            {
                "trial": "fixed",
                "objective": "fixed",
                "settings": {"controller.tau": 0.3, "controller.beta": 0.1},
                "metrics": held_out(0.31, 0.41, 93),
            },
        ]
    planned = (
        {"trial": line["trial"], "objective": line["objective"], "settings": line["settings"], "command": "compare"}
        for line in finished
    )
    write_lines(
        folder / "trials.jsonl",
        ({**line, "overrides": {}, "steps": 0 if line["trial"] == "warm_start" else STEPS} for line in planned),
    )
    write_lines(folder / "rows.jsonl", rows)
    write_lines(
        folder / "decisions.jsonl",
        (
            {"trial": r["trial"], "segment": r["segment"], "version": r["version"], "reason": r["reason"]}
            for r in rows
        ),
    )
    if lineage:
        write_lines(folder / "lineage.jsonl", (_exploit(*clone) for clone in CLONES))
    if evaluations:
        write_lines(folder / "evaluations.jsonl", finished)
        write_lines(folder / "samples.jsonl", (_sample(line["trial"], line["objective"]) for line in finished))
    return folder


def _sample(trial: str, objective: str) -> dict[str, Any]:
    answers = [{"text": "2+4+3", "reward": 1.0, "mode": "2+4+3"}, {"text": "2*3*4", "reward": 0.0, "mode": None}]
    (line,) = sample_records(trial, objective, STEPS, [{"prompt": "2,3,4=9:", "modes": 3, "answers": answers}])
    return line


def _settings(index: int) -> dict[str, Any]:
    return {
        "controller.target_entropy_fraction": 0.95 - 0.02 * index,
        "controller.target_kl": 0.05 + 0.02 * index,
        "controller.tau_rule.learning_rate": 2.0,
        "controller.update_interval": 1 + index % 2,
    }


def _exploit(step: int, recipient: str, donor: str) -> dict[str, Any]:
    objective = recipient.rpartition("-")[0]
    return {
        "step": step,
        "recipient": recipient,
        "donor": donor,
        "recipient_objective": objective,
        "donor_objective": objective,
        "new_objective": objective,
        "score_recipient": 0.3,
        "score_donor": 0.35,
        "old": _settings(3),
        "new": _settings(1),
        "operations": {},
    }


def _trajectory(
    trial: str, objective: str, index: int, clones: Iterable[tuple[int, str, str]]
) -> list[dict[str, Any]]:
    """τ and β start off target and settle; a clone starts a new segment with slightly different targets."""
    noise = random.Random(trial)
    starts = sorted(step for step, recipient, _ in clones if recipient == trial)
    slow = 8 if objective == "analytic" else 14
    rows = []
    for step in range(STEPS):
        segment = sum(start <= step for start in starts)
        since = step - max([0, *(start for start in starts if start <= step)])
        off = math.exp(-since / slow) * (0.6 if segment == 0 else 0.25) * (-1) ** index
        target_h, target_kl = TARGET_ENTROPY * (1 - 0.02 * index), 0.05 + 0.02 * index
        rows.append(
            row(
                trial,
                objective,
                step,
                segment=segment,
                tau=0.3 * 10 ** (off * 1.2) * (1 + 0.2 * index),
                beta=0.1 * 10 ** (-off) / (1 + index),
                entropy=target_h * (1 + 0.06 * off + noise.gauss(0, 0.008)),
                target_entropy=target_h,
                kl=target_kl * max(0.0, (1 - math.exp(-step / 5)) * (1 + 0.7 * off + noise.gauss(0, 0.06))),
                target_kl=target_kl,
                reward=0.30 + 0.10 * step / STEPS + noise.gauss(0, 0.02),
                pass_rate=0.70 + noise.gauss(0, 0.03),
                coverage=0.37 + 0.01 * index + noise.gauss(0, 0.02),
                seconds=0.4 if objective == "analytic" else 0.7,
                reason="updated" if noise.random() < 0.8 else "clipped",
            )
        )
    return rows


def _reference_rows(objective: str) -> list[dict[str, Any]]:
    noise = random.Random(objective)
    fall = 0.14 if objective == "grpo" else 0.05
    return [
        row(
            objective,
            objective,
            step,
            tau=0.3,
            beta=0.0 if objective == "grpo" else 0.1,
            target_entropy=None,
            target_kl=None,
            kl=0.004 * step,
            reward=0.30 + 0.13 * step / STEPS + noise.gauss(0, 0.02),
            coverage=0.37 - fall * step / STEPS + noise.gauss(0, 0.02),
            seconds=0.35,
            reason="",
        )
        for step in range(STEPS)
    ]
