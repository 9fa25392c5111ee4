"""Maximum-entropy weights in TRL: the gradient, the weights of every step, and what the controller is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback
from trl import GRPOTrainer

from maxent_ray import Controller, ControllerConfig
from maxent_ray.core.policy_loss import maxent_loss
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.weighting import group_weights, listwise_log_q, weight_entropy
from maxent_ray.integrations import MaxEntCallback, MaxEntGRPOTrainer
from tests.integrations.trl.recording import MicroBatch, RecordingListwise
from tests.integrations.trl.support import arguments, build, letters, logged, prompts, tiny_model

TARGETS = {"target_kl": 0.02, "target_entropy": 1.3}
G = 4


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_model(tmp_path_factory.mktemp("model"))


def listwise(model: str, args: Any, **settings: Any) -> RecordingListwise:
    callback = MaxEntCallback(**(TARGETS | settings))
    return build(model, args, callback, kind=RecordingListwise)


def mean_over_tokens(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (values * mask).sum(-1) / mask.sum(-1)


def reference_scores(batch: MicroBatch) -> torch.Tensor:
    """ρ of each completion."""
    return mean_over_tokens(batch.inputs["ref_per_token_logps"], batch.inputs["completion_mask"])


def test_the_gradient_is_that_of_maximum_entropy_grpo(model: str, tmp_path: Path) -> None:
    """TRL's loss with our advantages against ``maxent_loss``, from the completions' text on; β from TRL's k3 term."""
    trainer = listwise(model, arguments(tmp_path, loss_type="grpo", max_steps=1, learning_rate=0.0))
    trainer.train()
    (batch,) = trainer.micro_batches
    ids, mask = batch.inputs["completion_ids"], batch.inputs["completion_mask"]
    order = batch.inputs["group_position"].argsort()
    texts = trainer.processing_class.batch_decode(ids[order], skip_special_tokens=True)
    log_q = listwise_log_q(torch.tensor(letters(texts)).view(-1, G), 1.0, 1e-6)
    weights = group_weights(log_q, reference_scores(batch)[order].view(-1, G), batch.tau, batch.beta)

    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    theirs = gradient(trainer, trainer._compute_loss(trainer.model, batch.inputs))
    tokens = torch.cat([batch.inputs["prompt_ids"], ids], dim=1)
    attention = torch.cat([batch.inputs["prompt_mask"], mask], dim=1)
    logprobs, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, tokens, attention, ids.shape[1])
    ratio = batch.inputs["ref_per_token_logps"] - logprobs
    importance = (logprobs - logprobs.detach()).exp()
    kl = mean_over_tokens((ratio.exp() - ratio - 1) * importance, mask).mean()
    means = mean_over_tokens(logprobs, mask)[order].view(-1, G)
    ours = gradient(trainer, maxent_loss(weights, means, kl, batch.beta))
    assert torch.linalg.vector_norm(ours) > 1e-3
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-6)


def gradient(trainer: GRPOTrainer, loss: torch.Tensor) -> torch.Tensor:
    parameters = [each for each in trainer.model.parameters() if each.requires_grad]
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, parameters)])


@pytest.mark.parametrize(
    ("accumulation", "iterations", "per_generation", "generations"),
    [(1, 1, 1, 1), (2, 2, 2, 1), (2, 1, 4, 1), (2, 1, 1, 2)],
)
def test_every_step_trains_and_reports_with_the_weights_of_its_own_coefficients(
    model: str, tmp_path: Path, accumulation: int, iterations: int, per_generation: int, generations: int
) -> None:
    """Also where completions are used for several steps; each group is counted once a step."""
    args = arguments(
        tmp_path,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=accumulation,
        num_iterations=iterations,
        steps_per_generation=per_generation,
        loss_type="grpo",
        max_steps=4,
    )
    trainer = listwise(model, args)
    reports = keep_reports(trainer)
    trainer.train()
    groups = generations * per_generation * 8 // G
    assert [report.groups for report in reports] == [groups] * 4
    controller = Controller(ControllerConfig(group_size=G, beta=0.1, **TARGETS))
    state = controller.init()
    for step, report in enumerate(reports):
        batches = [batch for batch in trainer.micro_batches if batch.step == step]
        assert {(batch.tau, batch.beta) for batch in batches} == {(state.tau, state.beta)}
        tokens = trainer.statistics(step)
        assert report.tokens == tokens.tokens
        assert report.policy_kl_sum == pytest.approx(tokens.policy_kl_sum, rel=1e-4, abs=1e-6)
        state, _ = controller.step(state, report)
    assert len({batch.tau for batch in trainer.micro_batches}) == 4


def keep_reports(trainer: MaxEntGRPOTrainer) -> list[BatchStatistics]:
    """Reports to the controller, oldest first."""
    reports: list[BatchStatistics] = []
    callback = next(each for each in trainer.callback_handler.callbacks if isinstance(each, MaxEntCallback))

    class KeepReports(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            reports.append(callback._measured)  # after the callback, which is before this one in the list

    trainer.add_callback(KeepReports())
    return reports


def test_advantages_of_a_whole_generation_are_the_weights(model: str, tmp_path: Path) -> None:
    """From rewards and reference scores, group by group; TRL has shuffled the completions."""
    args = arguments(tmp_path, loss_type="grpo", max_steps=3, num_iterations=3)
    trainer = listwise(model, args)
    reports = keep_reports(trainer)
    trainer.train()
    for batch, report in zip(trainer.micro_batches, reports, strict=True):
        order = batch.inputs["group_position"].argsort()
        rho = reference_scores(batch)[order].view(-1, G)
        texts = trainer.processing_class.batch_decode(batch.inputs["completion_ids"][order], skip_special_tokens=True)
        log_q = listwise_log_q(torch.tensor(letters(texts)).view(-1, G), 1.0, 1e-6)
        weights = group_weights(log_q, rho, batch.tau, batch.beta)
        advantages = batch.inputs["advantages"][order].view(-1, G)
        torch.testing.assert_close(advantages, G * (weights - 1 / G), rtol=1e-4, atol=1e-5)
        assert report.mean("weight_entropy") == pytest.approx(float(weight_entropy(weights).mean()), rel=1e-4)
        differ = [len(set(row)) > 1 for row in log_q.tolist()]
        informative = float(weight_entropy(weights)[differ].mean())
        assert report.informative_groups == sum(differ)
        assert report.mean("informative_weight_entropy") == pytest.approx(informative, rel=1e-4)


def test_informative_groups_may_be_tracked(model: str, tmp_path: Path) -> None:
    trainer = listwise(
        model, arguments(tmp_path, loss_type="grpo", max_steps=3), entropy_signal="informative_weight_entropy"
    )
    reports = keep_reports(trainer)
    trainer.train()
    assert logged(trainer, "entropy") == pytest.approx([each.mean("informative_weight_entropy") for each in reports])
    assert len(set(logged(trainer, "tau"))) == 3


def test_a_group_that_lacks_a_reward_is_left_out(model: str, tmp_path: Path) -> None:
    """Its completions have advantage 0, and it is in no statistics."""

    def first_lacks(completions: list[str], **kwargs: Any) -> list[float | None]:
        return [None, *letters(completions)[1:]]

    trainer = listwise(model, arguments(tmp_path, loss_type="grpo", max_steps=2))
    trainer.reward_funcs = [first_lacks]
    reports = keep_reports(trainer)
    trainer.train()
    assert [report.groups for report in reports] == [3, 3]
    for batch in trainer.micro_batches:
        in_first = batch.inputs["group_position"] < G
        assert batch.inputs["advantages"][in_first].abs().max() == 0
        assert batch.inputs["advantages"][~in_first].abs().max() > 0


def test_a_step_without_any_rewarded_group_moves_beta_alone(model: str, tmp_path: Path) -> None:
    trainer = listwise(model, arguments(tmp_path, loss_type="grpo", max_steps=3))
    trainer.reward_funcs = [lambda completions, **kwargs: [None] * len(completions)]
    reports = keep_reports(trainer)
    trainer.train()
    assert logged(trainer, "tau") == [0.3] * 3
    assert len(set(logged(trainer, "beta"))) == 3
    assert logged(trainer, "entropy") == []
    controller = Controller(ControllerConfig(group_size=G, beta=0.1, **TARGETS))
    state = controller.init()
    for report, beta in zip(reports, logged(trainer, "beta"), strict=True):
        assert (report.groups, report.mean("policy_kl") is None) == (0, False)
        assert state.beta == pytest.approx(beta)
        state, decision = controller.step(state, report)
        assert decision.events[0] == "tau.not_measured"


def test_evaluation_is_left_to_trl(model: str, tmp_path: Path) -> None:
    args = arguments(tmp_path, loss_type="grpo", max_steps=2, eval_strategy="steps", eval_steps=1)
    args.per_device_eval_batch_size = 8
    trainer = MaxEntGRPOTrainer(
        model=model,
        reward_funcs=letters,
        args=args,
        train_dataset=prompts(),
        eval_dataset=prompts(4),
        callbacks=[MaxEntCallback(**TARGETS)],
    )
    trainer.train()
    assert len([entry for entry in trainer.state.log_history if "eval_reward" in entry]) == 2
    assert len(logged(trainer, "tau")) == 2


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"loss_type": "dapo"}, {}, "loss_type is 'dapo' in GRPOConfig; it must be 'grpo'"),
        ({"mask_truncated_completions": True}, {}, "mask_truncated_completions is True"),
        ({"beta": 0.0}, {"target_kl": None}, "beta is 0.0 in GRPOConfig; it must be > 0"),
        ({}, {"entropy_signal": "policy_entropy"}, "entropy_signal is policy_entropy; for MaxEntGRPOTrainer"),
        ({}, {"entropy_signal": "mode_entropy"}, "mode_entropy; for MaxEntGRPOTrainer it must be weight_entropy or"),
        ({}, {"group_size": 8}, "group_size is 8; it must be 4, as num_generations"),
        ({}, {"target_entropy": 1.5}, "target_entropy is 1.5; it must be < log G"),
    ],
    ids=["loss", "mask", "beta", "signal", "modes", "group", "unreachable"],
)
def test_settings_that_cannot_work_say_what_to_change(
    model: str, tmp_path: Path, changes: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        listwise(model, arguments(tmp_path, **({"loss_type": "grpo"} | changes)), **settings)


def test_without_the_callback_training_says_what_is_missing(model: str, tmp_path: Path) -> None:
    trainer = build(model, arguments(tmp_path, loss_type="grpo"), kind=MaxEntGRPOTrainer)
    with pytest.raises(ValueError, match="has no τ; give it callbacks="):
        trainer.train()


def test_a_wrong_q_is_refused_at_once(model: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"q temperature is -1\.0; it must be > 0"):
        MaxEntGRPOTrainer(
            model=model, reward_funcs=letters, args=arguments(tmp_path, loss_type="grpo"), q_temperature=-1.0
        )
