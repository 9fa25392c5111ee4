"""β and the entropy coefficient of TRL's own loss, driven by the callback."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from transformers import Trainer, TrainingArguments
from trl import GRPOTrainer

from maxent_ray import Controller, ControllerConfig
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules import PI
from maxent_ray.integrations import MaxEntCallback
from tests.integrations.trl.recording import Recording
from tests.integrations.trl.support import arguments, build, logged, tiny_model

TARGETS = {"target_kl": 0.02, "target_entropy": 2.5}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_model(tmp_path_factory.mktemp("model"))


def expected_coefficients(config: ControllerConfig, steps: list[BatchStatistics]) -> list[tuple[float, float]]:
    """τ and β that each step trains with, by the controller alone."""
    controller = Controller(config)
    state, used = controller.init(), []
    for statistics in steps:
        used.append((state.tau, state.beta))
        state, _ = controller.step(state, statistics)
    return used


@pytest.mark.parametrize(
    ("accumulation", "iterations", "per_generation"),
    [(1, 1, 1), (2, 1, 2), (2, 1, 1), (1, 2, 1), (2, 2, 4), (4, 1, 2)],
)
def test_each_step_trains_with_what_the_controller_decides_on_all_tokens_before_it(
    model: str, tmp_path: Path, accumulation: int, iterations: int, per_generation: int
) -> None:
    """Accumulated, reused and mid-generation micro-batches: the same as one controller given exact token sums."""
    args = arguments(
        tmp_path,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=accumulation,
        num_iterations=iterations,
        steps_per_generation=per_generation,
        entropy_coef=0.01,
        max_steps=5,
    )
    trainer = build(model, args, MaxEntCallback(**TARGETS), kind=Recording)
    trainer.train()
    batches = trainer.micro_batches
    assert [batch.step for batch in batches] == [step for step in range(5) for _ in range(accumulation)]
    config = ControllerConfig(entropy_signal="policy_entropy", tau=0.01, beta=0.1, **TARGETS)
    expected = expected_coefficients(config, [trainer.statistics(step) for step in range(5)])
    for batch in batches:
        assert (batch.entropy_coef, batch.beta) == pytest.approx(expected[batch.step], rel=1e-4)
    assert logged(trainer, "beta") == pytest.approx([beta for _, beta in expected], rel=1e-4)
    assert len(set(logged(trainer, "beta"))) == 5


def test_without_an_entropy_target_the_entropy_coefficient_stays(model: str, tmp_path: Path) -> None:
    trainer = build(model, arguments(tmp_path, max_steps=3), MaxEntCallback(target_kl=0.02), kind=Recording)
    trainer.train()
    assert {batch.entropy_coef for batch in trainer.micro_batches} == {0.0}
    assert logged(trainer, "tau") == [0.0, 0.0, 0.0]
    assert not logged(trainer, "entropy_error")


def test_with_an_entropy_target_alone_beta_stays(model: str, tmp_path: Path) -> None:
    args = arguments(tmp_path, entropy_coef=0.01, beta=0.0, max_steps=3)
    trainer = build(model, args, MaxEntCallback(target_entropy=2.5))
    trainer.train()
    assert logged(trainer, "beta") == [0.0, 0.0, 0.0]
    assert len(set(logged(trainer, "tau"))) == 3


def test_a_callback_that_is_added_later_finds_its_trainer(model: str, tmp_path: Path) -> None:
    first = build(model, arguments(tmp_path / "first", max_steps=3), MaxEntCallback(target_kl=0.02))
    first.train()
    second = build(model, arguments(tmp_path / "second", max_steps=3))
    second.add_callback(MaxEntCallback(target_kl=0.02))
    second.train()
    assert logged(first, "beta") == logged(second, "beta")


def test_a_second_training_begins_anew(model: str, tmp_path: Path) -> None:
    callback = MaxEntCallback(target_kl=0.02, set_point_horizon=0, max_step_factor=None, beta_rule=PI(clip=None))
    trainer = build(model, arguments(tmp_path, max_steps=3), callback)
    trainer.train()
    trainer.train()
    assert logged(trainer, "beta")[0] == pytest.approx(0.1)
    assert logged(trainer, "reason/updated") == [1, 2, 3]


@pytest.mark.ray
def test_the_actor_decides_the_same(model: str, tmp_path: Path, ray_cluster: None, run_id: str) -> None:
    betas = []
    for local in (True, False):
        callback = MaxEntCallback(target_kl=0.02, run_id=run_id, local=local)
        trainer = build(model, arguments(tmp_path / str(local)), callback)
        trainer.train()
        betas.append(logged(trainer, "beta"))
    assert betas[0] == betas[1]
    assert logged(trainer, "decided_locally") == [0, 0, 0, 0]


class Overflowing(GRPOTrainer):
    """Has an infinite KL in its second step, as k3 can."""

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        loss = super()._compute_loss(model, inputs)
        if self.state.global_step == 1:
            self._metrics["train"]["kl"][-1] = math.inf
        return loss


def test_a_kl_that_overflows_moves_nothing_and_is_counted(
    model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = build(model, arguments(tmp_path), MaxEntCallback(target_kl=0.02), kind=Overflowing)
    trainer.train()
    betas = logged(trainer, "beta")
    assert betas[2] == betas[1] != betas[3]
    assert logged(trainer, "reason/non_finite") == [1, 1, 1]
    assert "policy_kl_sum is inf" in caplog.text


def test_every_tracker_of_trl_shows_coefficients_errors_and_reasons(model: str, tmp_path: Path) -> None:
    """Two steps a log: values are means over them, counts the newest."""
    folder = tmp_path / "board"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENSORBOARD_LOGGING_DIR", str(folder))
        args = arguments(tmp_path, entropy_coef=0.01, logging_steps=2, report_to=["tensorboard"])
        free = {"max_step_factor": None, "beta_rule": PI(clip=None)}  # so that every reason is "updated"
        trainer = build(model, args, MaxEntCallback(**TARGETS, set_point_horizon=0, **free))
        trainer.train()
    events = EventAccumulator(str(folder)).Reload()
    names = ("tau", "beta", "entropy", "kl", "target_entropy", "target_kl", "entropy_error", "kl_error")
    for name in (*names, "reason/updated"):
        shown = [event.value for event in events.Scalars(f"train/maxent/{name}")]
        assert shown == pytest.approx(logged(trainer, name))
        assert len(shown) == 2
    assert logged(trainer, "reason/updated") == [2, 4]
    assert logged(trainer, "kl") == pytest.approx([e["kl"] for e in trainer.state.log_history if "kl" in e])


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"beta": 0.0}, {"target_kl": 0.05}, "beta is 0.0 in GRPOConfig; it must be > 0"),
        ({}, {"target_entropy": 2.0}, "entropy_coef is 0.0 in GRPOConfig"),
        ({"use_adaptive_entropy": True}, {"target_kl": 0.05}, "use_adaptive_entropy is True"),
        ({}, {}, "no target; give target_kl, target_entropy or both"),
        (
            {},
            {"target_kl": 0.05, "beta_min": 0.0, "beta_rule": {"type": "pi", "space": "linear"}},
            "beta_min is 0.0; it must be > 0",
        ),
        ({}, {"target_kl": 0.05, "beta": 0.3}, "beta is 0.3 for the controller and 0.1 in GRPOConfig"),
        ({"entropy_coef": 0.01}, {"target_entropy": 2.0, "tau": 0.3}, "tau is 0.3 for the controller"),
        ({}, {"target_kl": 0.05, "kl_signal": "weight_kl"}, "kl_signal is weight_kl, of group weights"),
        (
            {"entropy_coef": 0.01},
            {"config": ControllerConfig(target_entropy=1.2)},
            "entropy_signal is weight_entropy, of group weights; use MaxEntGRPOTrainer",
        ),
        (
            {"entropy_coef": 0.01},
            {"target_entropy": 1.2, "entropy_signal": "mode_entropy"},
            "entropy_signal is mode_entropy, and rewards of TRL tell no modes; use entropy_signal='policy_entropy'",
        ),
        ({}, {"target_kl": 0.05, "objective": {"type": "truncated_backprop"}}, "nothing unrolls TRL's steps"),
        ({"beta": 1e3}, {"target_kl": 0.05}, "beta is 1000.0; it must be in"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(map(str, value)) or "nothing",
)
def test_settings_that_cannot_work_say_what_to_change(
    model: str, tmp_path: Path, changes: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(model, arguments(tmp_path, **changes), MaxEntCallback(**settings))


def test_settings_of_the_callback_alone_are_checked_at_once() -> None:
    with pytest.raises(ValueError, match="config is given, and so is target_kl"):
        MaxEntCallback(ControllerConfig(target_kl=0.05), target_kl=0.05)
    with pytest.raises(ValueError, match=r"options\.lag is 1; it must be 0"):
        MaxEntCallback(target_kl=0.05, options={"lag": 1})


def test_two_callbacks_are_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 callbacks MaxEntCallback; give it one"):
        build(model, arguments(tmp_path), MaxEntCallback(target_kl=0.05), MaxEntCallback(target_kl=0.1))


def test_another_trainer_is_refused(tmp_path: Path) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)
    with pytest.raises(ValueError, match=r"a callback of Trainer; add it to a trl\.GRPOTrainer"):
        Trainer(model=nn.Linear(1, 1), args=args, callbacks=[MaxEntCallback(target_kl=0.05)])
    with pytest.raises(ValueError, match="called by no trainer"):
        MaxEntCallback(target_kl=0.05).on_init_end(args, None, None)
