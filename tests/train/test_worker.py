"""The training worker: repeatable, resumable in the middle, undisturbed by evaluation, safe against bad gradients."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch

from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.errors import MaxentRayError
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.tasks import Grade, Prompt, Task
from maxent_ray.train.rank import RankProcess, RankSpec
from maxent_ray.train.worker import objective_name
from maxent_ray.train.worker_state import decode_state
from tests.train.tiny import start, tiny_config, trained

ANALYTIC: dict[str, Any] = {}
TRUNCATED: dict[str, Any] = {
    "controller.objective.type": "truncated_backprop",
    "controller.objective.unroll.steps": 2,
    "controller.objective.unroll.groups": 2,
}
GRPO: dict[str, Any] = {
    "weighting.type": "grpo",
    "controller.objective": None,
    "controller.beta": 0.0,
    "controller.target_kl": 0.0,
}
OBJECTIVES = [ANALYTIC, TRUNCATED]
LAGS = [0, 1]


def rows(steps: int, overrides: dict[str, Any]) -> list[dict[str, Any]]:
    return trained(start(tiny_config(overrides)).run(steps))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("lag", LAGS)
def test_the_same_seed_gives_the_same_rows(objective: dict[str, Any], lag: int) -> None:
    settings = {**objective, "runtime.lag": lag}
    first = rows(3, settings)
    assert rows(3, settings) == first
    assert len({row["tau"] for row in first}) >= 2  # the controller moves


def test_another_seed_gives_other_rows() -> None:
    assert rows(1, {}) != rows(1, {"train.seed": 1})
    assert rows(1, {})[0]["loss"] != rows(1, {"train.seed": 1})[0]["loss"]


@pytest.mark.parametrize("lag", LAGS)
def test_step_s_trains_with_the_outcome_of_round_s_minus_1_minus_lag(lag: int) -> None:
    done = rows(4, {"runtime.lag": lag})
    assert [row["version"] for row in done] == [max(step - lag, 0) for step in range(4)]
    assert [row["step"] for row in done] == [0, 1, 2, 3]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("lag", LAGS)
def test_a_run_resumed_in_the_middle_continues_identically(objective: dict[str, Any], lag: int) -> None:
    """Saved inside an interval of 2 and resumed in a new process: the rows of a run that was never saved."""
    config = tiny_config({**objective, "runtime.lag": lag, "controller.update_interval": 2})
    uninterrupted = trained(start(config).run(6))
    assert len({row["tau"] for row in uninterrupted}) >= 3
    saved = start(config)
    first = trained(saved.run(3))
    state = saved.state_bytes()
    assert first + trained(saved.run(3)) == uninterrupted  # saving disturbs nothing
    resumed = start(config)
    resumed.load_state_bytes(state)
    assert trained(resumed.run(3)) == uninterrupted[3:]


def test_a_worker_that_went_on_can_be_set_back() -> None:
    process = start(tiny_config())
    process.run(2)
    state = process.state_bytes()
    once = trained(process.run(2))
    process.load_state_bytes(state)
    assert trained(process.run(2)) == once


def test_the_state_holds_no_settings() -> None:
    """Loaded by a worker with other settings: those stay, and the state is taken over."""
    donor = start(tiny_config({"grpo.learning_rate": 1e-3}))
    donor.run(2)
    changes = {
        "grpo.learning_rate": 5e-5,
        "controller.target_kl": 0.2,
        "controller.tau_rule.learning_rate": 0.25,
        "controller.tau_max": 0.31,
    }
    clone = start(tiny_config(changes))
    clone.load_state_bytes(donor.state_bytes())
    assert [group["lr"] for group in clone.worker.optimizer.param_groups] == [5e-5]
    ours, theirs = clone.worker.policy.model.state_dict(), donor.worker.policy.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    (row,) = clone.run(1)
    assert (row.step, row.target_kl) == (2, 0.2)
    assert row.tau <= 0.31
    state = decode_state(donor.state_bytes(), "state")
    assert set(state) == {"step", "prompts", "model", "optimizer", "controller"}
    assert "lr" not in str(state["optimizer"].keys())
    json.dumps(state["controller"])


def test_moments_travel_with_the_state() -> None:
    donor, clone = start(tiny_config()), start(tiny_config())
    donor.run(2)
    clone.load_state_bytes(donor.state_bytes())
    theirs, ours = (process.worker.optimizer.state_dict()["state"] for process in (donor, clone))
    assert theirs.keys() == ours.keys()
    for index, moments in theirs.items():
        assert all(torch.equal(ours[index][key], value) for key, value in moments.items())


# --- evaluation ---


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_evaluation_is_repeatable_and_disturbs_nothing(objective: dict[str, Any]) -> None:
    process = start(tiny_config(objective))
    first = process.evaluate()
    assert process.evaluate() == first
    assert (first.metrics.prompts, first.metrics.samples) == (6, 2)
    assert [len(sample.answers) for sample in first.samples] == [2] * 6
    interleaved = []
    for _ in range(3):
        interleaved += trained(process.run(1))
        process.evaluate()
    assert interleaved == rows(3, objective)


def test_evaluation_knows_no_training_seed_but_its_own() -> None:
    first, other_training = (start(tiny_config({"train.seed": seed})) for seed in (0, 1))
    assert first.evaluate() == other_training.evaluate()
    more = {"evaluation.prompts": 8, "evaluation.samples": 8}
    one, other = (start(tiny_config({**more, "evaluation.seed": seed})) for seed in (1, 2))
    assert one.evaluate().metrics.per_prompt != other.evaluate().metrics.per_prompt


class Watched:
    """A task that notes which prompts it graded."""

    def __init__(self, task: Task) -> None:
        self.name, self.train, self.held_out = task.name, task.train, task.held_out
        self.graded: set[str] = set()
        self._grade = task.grade

    def grade(self, prompt: Prompt, completion: str) -> Grade:
        self.graded.add(prompt.text)
        return self._grade(prompt, completion)


def test_evaluation_is_of_the_first_held_out_prompts_and_training_of_none() -> None:
    process = start(tiny_config())
    held_out = {prompt.text for prompt in process.worker.task.held_out}
    process.worker.task = watched = Watched(process.worker.task)
    process.evaluate()
    assert watched.graded == {prompt.text for prompt in watched.held_out[:6]}
    watched.graded.clear()
    process.run(2)
    assert len(watched.graded) == 8
    assert not watched.graded & held_out


# --- the step ---


def test_a_row_tells_what_the_step_did() -> None:
    process = start(tiny_config(TRUNCATED))
    (row,) = process.run(1)
    assert (row.step, row.rank, row.version, row.objective) == (0, 0, 0, "truncated_backprop")
    assert (row.tau, row.beta, row.target_kl) == (0.3, 0.1, 0.2)
    assert row.kl == pytest.approx(0, abs=1e-6)  # measured before the first optimiser step: θ is the reference
    assert 0 < row.entropy <= 1.3863
    assert row.policy_entropy > 0
    assert row.gradient_norm > 0
    parts = row.seconds_rollout + row.seconds_hypergradient + row.seconds_controller
    assert row.seconds > parts > row.seconds_hypergradient > 0
    assert json.dumps(row.to_dict(), allow_nan=False)
    (second,) = process.run(1)
    assert second.kl > 1e-7


def test_hypergradients_are_formed_on_update_steps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    process = start(tiny_config({**TRUNCATED, "controller.update_interval": 2, "controller.warmup_steps": 2}))
    client, unrolled = process.worker.client, []
    send = client.report

    def report(step: int, statistics: BatchStatistics, gradients: ControllerGradients | None = None) -> None:
        unrolled.append(gradients is not None)
        send(step, statistics, gradients)

    monkeypatch.setattr(client, "report", report)
    process.run(4)
    assert unrolled == [False, False, False, True]
    client.state_dict()  # waits for the last answer
    reasons = [decision["reason"] for decision in process.decisions()]
    assert reasons[:3] == ["warm_up", "warm_up", "interval"]
    assert reasons[3] in ("updated", "clipped")


def test_the_controller_gets_the_unroll() -> None:
    process = start(tiny_config({**TRUNCATED, "runtime.lag": 0}))
    process.run(2)
    decision = process.decisions()[0]
    assert decision["source"] == "truncated_backprop"
    assert decision["reason"] in ("updated", "clipped")
    assert decision["tau_grad"] is not None
    assert decision["beta_grad"] is not None


def test_different_k_give_different_coefficients() -> None:
    """By the form whose steps have the size of the sensitivities; ``paired`` takes their sign, and what is measured."""
    joint = {**TRUNCATED, "runtime.lag": 0, "controller.objective.form.type": "joint"}
    by_steps = [rows(3, {**joint, "controller.objective.unroll.steps": k})[-1] for k in (1, 2, 4)]
    assert len({row["tau"] for row in by_steps}) == 3


def test_plain_grpo_keeps_its_coefficients() -> None:
    done = rows(3, GRPO)
    assert {(row["objective"], row["tau"], row["beta"]) for row in done} == {("grpo", 0.3, 0.0)}
    assert {row["target_kl"] for row in done} == {None}


@pytest.mark.parametrize(
    ("overrides", "label"),
    [
        (ANALYTIC, "analytic"),
        (TRUNCATED, "truncated_backprop"),
        ({"controller.objective.type": "my_package:Mine"}, "my_package:Mine"),
        ({"controller.objective": None}, "fixed"),
        (GRPO, "grpo"),
    ],
)
def test_a_run_is_called_what_it_is(overrides: dict[str, Any], label: str) -> None:
    assert objective_name(tiny_config(overrides)) == label


# --- a policy gradient that is not finite ---


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_bad_gradient_raises_and_leaves_everything_as_it_was(objective: dict[str, Any]) -> None:
    """The reference is broken, so that the KL and its gradient are NaN; once repaired, the run continues unchanged."""
    process = start(tiny_config(objective))
    first = trained(process.run(1))
    worker = process.worker
    parameters = copy.deepcopy(worker.policy.model.state_dict())
    moments = copy.deepcopy(worker.optimizer.state_dict()["state"])
    broken = worker.reference.get_output_embeddings().weight
    good = broken.detach().clone()
    with torch.no_grad():
        broken.fill_(float("nan"))
    for _ in range(2):
        with pytest.raises(MaxentRayError, match=r"step 1 \(tau .*\): .* norm of its gradient nan; .*unchanged"):
            process.run(1)
    now = worker.policy.model.state_dict()
    assert all(torch.equal(now[name], value) for name, value in parameters.items())
    for index, values in worker.optimizer.state_dict()["state"].items():
        assert all(torch.equal(moments[index][key], value) for key, value in values.items())
    assert worker.next_step == 1
    with torch.no_grad():
        broken.copy_(good)
    assert first + trained(process.run(2)) == rows(3, objective)


# --- the process around a worker ---


def test_setup_starts_anew() -> None:
    process = start(tiny_config())
    first = trained(process.run(2))
    process.setup(tiny_config(), RankSpec("again", rank=0, world_size=1, use_gpu=False, local=True))
    assert trained(process.run(2)) == first


def test_nothing_runs_before_setup_or_after_close() -> None:
    process = RankProcess()
    with pytest.raises(RuntimeError, match=r"setup\(\) was not called"):
        process.run(1)
    process = start(tiny_config())
    process.close()
    process.close()
    with pytest.raises(RuntimeError, match=r"close\(\) was"):
        process.evaluate()


def test_client_options_are_the_configs_runtime_section() -> None:
    config = tiny_config(
        {"runtime.lag": 0, "runtime.round_timeout_s": 12, "runtime.when_unreachable": "raise", "runtime.timeout_s": 3.5}
    )
    assert config.runtime == ClientOptions(0, 3.5, "raise", 12.0)
