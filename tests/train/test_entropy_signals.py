"""Short runs that track the entropies of groups, and tasks that cannot tell modes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from maxent_ray.cli.commands import check_inputs
from maxent_ray.config import ExperimentConfig
from maxent_ray.errors import ConfigError
from maxent_ray.tasks import Countdown, Grade, Prompt, Task, tells_modes
from maxent_ray.train.batch import prepare_batch
from maxent_ray.train.model_check import check_model
from maxent_ray.train.policy_and_task import load_policy_and_task
from tests.train.tiny import start, tiny_config

STEPS = 5
MODES = {"controller.entropy_signal": "mode_entropy", "controller.target_entropy_fraction": 0.5}
INFORMATIVE = {"controller.entropy_signal": "informative_weight_entropy", "controller.target_entropy_fraction": 0.7}
UNROLLED = {"controller.objective": {"type": "truncated_backprop"}}


class Silent:
    """A task that says nothing of modes."""

    name = "silent"

    def __init__(self, *, held_out_count: int, seed: int) -> None:
        known = Countdown(held_out_count=held_out_count, seed=seed)
        self.train = [Prompt(prompt.text) for prompt in known.train]
        self.held_out = [Prompt(prompt.text) for prompt in known.held_out]
        self._grade = known.grade

    def grade(self, prompt: Prompt, completion: str) -> Grade:
        return Grade(self._grade(prompt, completion).reward)


class Mute(Silent):
    """A task that says that it tells none."""

    tells_modes = False


def of_task(kind: type[Any], overrides: dict[str, Any]) -> ExperimentConfig:
    name = f"{__name__}:{kind.__name__}"
    return tiny_config({**overrides, "policy.model": "embedded:countdown_small", "task.name": name})


@pytest.mark.parametrize(
    "overrides", [INFORMATIVE, {**INFORMATIVE, **UNROLLED}, MODES], ids=["informative", "unrolled", "modes"]
)
def test_a_short_run_moves_tau_by_it(overrides: dict[str, Any]) -> None:
    process = start(tiny_config({**overrides, "runtime.lag": 0, "grpo.prompts_per_step": 12}))
    rows, decisions = process.run(STEPS), process.decisions()
    assert [row.step for row in rows] == list(range(STEPS))
    known = [decision for decision in decisions if decision["entropy"] is not None]
    assert known and any(decision["tau"] != decision["previous_tau"] for decision in known)
    for row, decision in zip(rows, decisions, strict=True):
        assert decision["entropy"] is None or row.entropy == decision["entropy"]
        assert ("tau.not_measured" in decision["events"]) == (decision["entropy"] is None)
    is_modes = overrides["controller.entropy_signal"] == "mode_entropy"
    assert all((decision["entropy_reach"] is None) == is_modes for decision in known)


def test_the_worker_measures_the_modes_of_its_rollout() -> None:
    config = tiny_config({**MODES, "grpo.prompts_per_step": 12})
    policy, task = load_policy_and_task(config, torch.device("cpu"))
    batch = prepare_batch(policy, policy.model, task, task.train[:6], config.grpo, seed=0)
    assert batch.modes is not None
    assert [[mode is not None for mode in group] for group in batch.modes] == (batch.rewards > 0).tolist()
    assert batch.take(slice(2, 4)).modes == batch.modes[2:4]
    silent = Silent(held_out_count=8, seed=0)
    assert prepare_batch(policy, policy.model, silent, silent.train[:2], config.grpo, seed=0).modes is None


@pytest.mark.parametrize(("task", "tells"), [(Countdown, True), (Silent, False), (Mute, False)])
def test_a_task_says_if_it_tells_modes(task: type[Any], tells: bool) -> None:
    built = task(held_out_count=8, seed=0)
    assert isinstance(built, Task)
    assert tells_modes(built) == tells


@pytest.mark.parametrize("kind", [Silent, Mute])
def test_a_task_without_modes_is_refused_before_anything_starts(kind: type[Any]) -> None:
    config = of_task(kind, MODES)
    message = "does not tell the modes of its answers .*set it to weight_entropy or informative_weight_entropy"
    for check in (check_inputs, check_model, start):
        with pytest.raises(ConfigError, match=message):
            check(config)
    check_inputs(of_task(kind, INFORMATIVE))


def test_a_fraction_or_a_target_is_of_log_g() -> None:
    for signal in ("mode_entropy", "informative_weight_entropy"):
        given = {"controller.entropy_signal": signal, "controller.target_entropy_fraction": None}
        with pytest.raises(ConfigError, match=r"target_entropy is 1\.4; it must be < log G = 1\.3863 nats"):
            tiny_config({**given, "controller.target_entropy": 1.4}).controller_config()
        config = tiny_config({**given, "controller.target_entropy_fraction": 0.5}).controller_config()
        assert config.target_entropy_at(0) == pytest.approx(0.5 * 1.386294361)

