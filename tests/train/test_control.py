"""Short forms of the experiments: the controller controls, and without it the policy collapses (no Ray)."""

from __future__ import annotations

import math
from statistics import fmean

import pytest
import torch

from maxent_ray.config.loading import load_config
from maxent_ray.train.rank import RankProcess, RankSpec
from maxent_ray.train.run_local import LocalRun, run_local

SHORT = [
    "task.name=countdown_small",
    "grpo.prompts_per_step=12",
    "evaluation.prompts=4",
    "controller.target_entropy_fraction=0.95",
    "controller.target_kl=0.05",
]
BACKPROP = ["controller.objective.type=truncated_backprop", "controller.objective.unroll.groups=3"]
METHODS = {"analytic": ["controller.objective.type=analytic"], "truncated_backprop": BACKPROP}


def run(*overrides: str) -> LocalRun:
    return run_local(load_config(overrides=[*SHORT, *overrides]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("tau", "steps"), [(0.055, 24), pytest.param(5.5, 45, marks=pytest.mark.slow)])
def test_entropy_comes_to_its_target_from_ten_times_too_low_and_too_high(
    method: str, tau: float, steps: int
) -> None:
    result = run(
        "grpo.prompts_per_step=24",  # with 12 the noise of KL moves β so much that it moves H by 3 %
        f"train.steps={steps}",
        f"controller.tau={tau}",
        *METHODS[method],
        "controller.update_interval=1",
    )
    target = 0.95 * math.log(8)
    first, last = result.rows[0], result.rows[-12:]
    assert abs(first.entropy / target - 1) > 0.04  # the start is off
    assert abs(fmean(row.entropy for row in last) / target - 1) < 0.03
    assert {row.objective for row in last} == {method}


@pytest.mark.slow
def test_kl_is_held_where_plain_grpo_lets_it_run() -> None:
    steps = "train.steps=50"
    held = run(steps, "controller.target_kl=0.03")
    plain = run(
        steps, "weighting.type=grpo", "controller.objective=null", "controller.beta=0"
    )
    assert fmean(row.kl for row in held.rows[-15:]) == pytest.approx(0.03, rel=0.5)
    assert fmean(row.kl for row in plain.rows[-15:]) > 0.06


def test_every_step_trains_with_the_outcome_of_the_round_before_the_last() -> None:
    rows = run("train.steps=6").rows
    assert [row.version for row in rows] == [0, 0, 1, 2, 3, 4]  # lag 1
    assert rows[0].tau == rows[1].tau == 0.3
    assert len({row.tau for row in rows}) == 5


def test_bfloat16_is_for_forward_passes_and_parameters_stay_float32() -> None:
    """A step of 1e-4 would round away in bfloat16 parameters."""
    config = load_config(overrides=[*SHORT, "policy.dtype=bfloat16", *BACKPROP])
    process = RankProcess()
    process.setup(config, RankSpec("bf16", 0, 1, use_gpu=False, local=True))
    try:
        before = {name: p.detach().clone() for name, p in process.worker.policy.model.named_parameters()}
        rows = process.run(3)
        after = dict(process.worker.policy.model.named_parameters())
    finally:
        process.close()
    assert {p.dtype for p in after.values()} == {torch.float32}
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert all(math.isfinite(row.loss) and math.isfinite(row.kl) for row in rows)
    full = run("train.steps=3", *BACKPROP)
    assert rows[0].loss != full.rows[0].loss  # the precision does make a difference


def test_a_run_goes_on_under_other_targets_with_its_state() -> None:
    first, then = (
        load_config(overrides=[*SHORT, f"train.steps={steps}", f"controller.target_kl={target}"])
        for steps, target in ((3, 0.05), (2, 0.08))
    )
    whole = run_local(first, then=[then])
    assert [row.step for row in whole.rows] == [0, 1, 2, 3, 4]
    assert [row.target_kl for row in whole.rows] == [0.05] * 3 + [0.08] * 2
    assert [row.version for row in whole.rows] == [0, 0, 1, 2, 3]
    alone = run_local(first)
    same = ("tau", "beta", "kl", "entropy", "reward")
    for a, b in zip(alone.rows, whole.rows, strict=False):
        assert [getattr(a, name) for name in same] == [getattr(b, name) for name in same]
    assert whole.rows[3].kl > 0  # the policy went on; it did not start anew


@pytest.mark.parametrize("factor", [0.1, pytest.param(10.0, marks=pytest.mark.slow)])
def test_the_decoupled_form_brings_entropy_to_its_target_within_ten_steps(factor: float) -> None:
    """τ and β together ten times off; the integrator of the analytic rule takes more than twenty from above."""
    result = run(
        "train.steps=16",
        f"controller.tau={0.55 * factor}",
        f"controller.beta={0.13 * factor}",
        *BACKPROP,
        "controller.objective.form.type=decoupled",
    )
    late = result.rows[-6:]
    assert fmean(row.entropy for row in late) == pytest.approx(late[0].target_entropy, rel=0.02)
    assert all(row.kl > 0 for row in late)
    assert {row.reason for row in result.rows[2:]} <= {"updated", "clipped"}
