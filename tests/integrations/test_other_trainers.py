"""The code of the page on other trainers, driven by stand-ins that call it as those trainers' sources do."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from maxent_ray.integrations import TargetKLController
from tests.docs.blocks import ROOT, blocks
from tests.integrations.climbing_policy import ClimbingPolicy


def defined() -> dict[str, Any]:
    """Names that the page's blocks define."""
    names: dict[str, Any] = {}
    for block in blocks(ROOT / "docs" / "how-to" / "other-trainers.md", "python"):
        exec(block, names)
    return names


@pytest.fixture
def page() -> dict[str, Any]:
    return defined()


def test_nemo_rls_loss_gets_a_new_coefficient_with_every_step(page: dict[str, Any]) -> None:
    policy = ClimbingPolicy()

    class Workers:
        """Gets the loss function as the workers do: a copy as it was when the step began."""

        name = "workers"

        def train(self, data: Any, loss_fn: Any, *, timer: Any = None) -> dict[str, Any]:
            assert loss_fn.reference_policy_kl_penalty != 0
            policy.train(loss_fn.reference_policy_kl_penalty)
            return {"all_mb_metrics": {"kl_penalty": [policy.kl().item() / 4] * 4}}

    kl_ctl, loss_fn = TargetKLController(0.01, 0.2), SimpleNamespace(reference_policy_kl_penalty=0.01)
    controlled = page["KLControlled"](Workers(), kl_ctl)
    for _ in range(120):
        controlled.train(SimpleNamespace(size=512), loss_fn, timer=None)
    assert policy.kl().item() == pytest.approx(0.2, rel=0.05)
    assert controlled.name == "workers"


def test_skyrls_trainer_keeps_the_state_in_its_checkpoints(page: dict[str, Any], tmp_path: Path) -> None:
    class SkyRL:
        """Calls in the order of theirs: the controller is built after the checkpoint was loaded."""

        def __init__(self) -> None:
            self.cfg = SimpleNamespace(trainer=SimpleNamespace(ckpt_path=str(tmp_path)))

        def train(self, measured: list[float]) -> float:
            self.global_step, _ = self.load_checkpoints()
            self.reward_kl_controller = TargetKLController(init_kl_coef=0.01, target=0.05, horizon=10000)
            for kl in measured:
                self.global_step += 1
                self.apply_reward_kl_penalty(kl)
                self.save_checkpoints()
            return self.reward_kl_controller.value

        def apply_reward_kl_penalty(self, data: float) -> float:
            self.reward_kl_controller.update(current=data, n_steps=16)
            return data

        def save_checkpoints(self) -> None:
            (tmp_path / f"global_step_{self.global_step}").mkdir()

        def load_checkpoints(self) -> tuple[int, str | None]:
            steps = [int(folder.name.rpartition("_")[2]) for folder in tmp_path.iterdir()]
            return (max(steps), str(tmp_path / f"global_step_{max(steps)}")) if steps else (0, None)

    class Trainer(page["KLState"], SkyRL):  # type: ignore[misc]
        pass

    undisturbed = TargetKLController(0.01, 0.05)
    for kl in (0.2, 0.09, 0.03, 0.08):
        undisturbed.update(kl, 16)
    Trainer().train([0.2, 0.09])
    resumed = Trainer()
    assert resumed.train([0.03, 0.08]) == undisturbed.value
    assert resumed.kl_state is None
    (tmp_path / "global_step_4" / "kl_controller.json").unlink()  # as in one of before the controller was added
    assert Trainer().train([]) == 0.01


def test_slimes_hooks_move_the_argument_that_its_loss_reads(
    page: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, args = ClimbingPolicy(), SimpleNamespace(kl_loss_coef=0.01)

    def policy_loss_function(args: Any, batch: Any, logits: Any, sum_of_sample_mean: Any) -> Any:
        kl_loss = policy.kl() * len(batch["response_lengths"])  # a sum over samples
        return args.kl_loss_coef * kl_loss, {"kl_loss": kl_loss.clone().detach()}

    loss = ModuleType("slime.backends.megatron_utils.loss")
    loss.policy_loss_function = policy_loss_function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "slime.backends.megatron_utils.loss", loss)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)
    for step in range(240):
        page["before_train_step"](args, step // 2, step % 2, None, None, None)
        for samples in (3, 5):  # micro-batches
            loss_of_batch, metrics = page["policy_loss"](args, {"response_lengths": [7] * samples}, torch.zeros(1), sum)
            assert loss_of_batch == args.kl_loss_coef * metrics["kl_loss"]
        policy.train(args.kl_loss_coef)
    assert policy.kl().item() == pytest.approx(0.05, rel=0.05)
    assert page["KLControl"].client.last_decision["kl"] == pytest.approx(0.05, rel=0.05)

    saved, resumed, coefficient = page["KLControl"].client.state_dict(), defined(), args.kl_loss_coef
    args.kl_loss_coef = 0.01  # as in the settings of a new process
    resumed["start"](args, saved)
    resumed["before_train_step"](args, 120, 0, None, None, None)
    assert (args.kl_loss_coef, resumed["KLControl"].step) == (coefficient, 240)
