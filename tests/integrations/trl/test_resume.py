"""Controller's state in TRL's checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from maxent_ray.integrations import MaxEntCallback
from tests.integrations.trl.support import arguments, build, logged, tiny_model

SAVING = {"save_strategy": "steps", "save_steps": 3}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_model(tmp_path_factory.mktemp("model"))


def train(model: str, folder: Path, steps: int, resume: bool = False, **changes: Any) -> Any:
    args = arguments(folder, max_steps=steps, entropy_coef=0.01, **SAVING, **changes)
    trainer = build(model, args, MaxEntCallback(target_kl=0.02, target_entropy=2.5, set_point_horizon=0))
    trainer.train(resume_from_checkpoint=resume or None)
    return trainer


@pytest.mark.parametrize("by_transformers", [False, True], ids=["by-the-callback", "by-transformers"])
def test_a_resumed_training_goes_on_with_the_coefficients_of_the_undisturbed_one(
    model: str, tmp_path: Path, by_transformers: bool
) -> None:
    """Also where transformers makes the callback anew, from what the checkpoint says."""
    whole = train(model, tmp_path / "whole", 6)
    train(model, tmp_path / "part", 3)
    resumed = train(model, tmp_path / "part", 6, True, restore_callback_states_from_checkpoint=by_transformers)
    for name in ("tau", "beta", "kl", "reason/updated"):
        assert logged(resumed, name) == logged(whole, name)


def test_the_state_is_in_the_trainer_state_of_every_checkpoint(model: str, tmp_path: Path) -> None:
    train(model, tmp_path, 6)
    for step in (3, 6):
        text = (tmp_path / f"checkpoint-{step}" / "trainer_state.json").read_text(encoding="utf-8")
        saved = json.loads(text)["stateful_callbacks"]["MaxEntCallback"]["attributes"]["saved"]
        assert saved["client"]["state"]["step"] == step - 1
        assert sum(saved["reasons"].values()) == step


def test_a_checkpoint_from_before_the_callback_starts_the_controller_at_its_step(model: str, tmp_path: Path) -> None:
    """The first coefficients are TRL's, and the next checkpoint has the state."""
    args = arguments(tmp_path, max_steps=3, entropy_coef=0.01, **SAVING)
    build(model, args).train()
    resumed = train(model, tmp_path, 6, True)
    assert logged(resumed, "beta")[0] == pytest.approx(0.1)
    assert len(set(logged(resumed, "beta"))) == 3
    text = (tmp_path / "checkpoint-6" / "trainer_state.json").read_text(encoding="utf-8")
    assert json.loads(text)["stateful_callbacks"]["MaxEntCallback"]["attributes"]["saved"]["reasons"] == {"updated": 3}


def test_targets_may_change_on_resume(model: str, tmp_path: Path) -> None:
    """State comes from the checkpoint, settings from the new callback."""
    train(model, tmp_path, 3)
    args = arguments(tmp_path, max_steps=6, entropy_coef=0.01, **SAVING)
    trainer = build(model, args, MaxEntCallback(target_kl=0.01))
    trainer.train(resume_from_checkpoint=True)
    assert logged(trainer, "target_kl") == pytest.approx([0.02] * 3 + [0.01] * 3)
    assert logged(trainer, "tau")[3:] == [0.01] * 3
