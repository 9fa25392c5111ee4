"""A run is not resumed on other prompts than it was trained on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from maxent_ray.errors import ResumeError
from maxent_ray.tasks import Countdown, CountdownSmall
from maxent_ray.train.trained_prompts import check_trained_prompts, fingerprint
from maxent_ray.train.worker_state import decode_state
from tests.train.tiny import start, tiny_config


def test_a_checkpoint_of_the_same_prompts_fits() -> None:
    check_trained_prompts(fingerprint(Countdown(held_out_count=8)), Countdown(held_out_count=512))
    check_trained_prompts(None, CountdownSmall())


def test_one_from_before_countdown_grew_is_told_the_name_of_its_task() -> None:
    with pytest.raises(ResumeError, match=r"now the task 'countdown_small': set task.name: countdown_small in"):
        check_trained_prompts(None, Countdown())


@pytest.mark.parametrize("changed", [{"seed": 1}, {"held_out_count": 8}])
def test_one_of_another_split_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ResumeError, match=r"other prompts than the task 'countdown_small' has now: .* task.seed"):
        check_trained_prompts(fingerprint(CountdownSmall()), CountdownSmall(**changed))


def test_a_rank_that_refuses_loads_nothing() -> None:
    donor, other = start(tiny_config()), start(tiny_config({"task.seed": 1}))
    donor.run(1)
    before = {name: value.clone() for name, value in other.worker.policy.model.state_dict().items()}
    with pytest.raises(ResumeError, match="other prompts"):
        other.load_state_bytes(donor.state_bytes())
    assert other.worker.next_step == 0
    now = other.worker.policy.model.state_dict()
    assert all(torch.equal(now[name], value) for name, value in before.items())


def test_an_old_checkpoint_resumes_under_the_new_name_of_its_task() -> None:
    donor, resumed = start(tiny_config()), start(tiny_config())
    donor.run(1)
    state = decode_state(donor.state_bytes(), "state")
    resumed.worker.load_state_dict({**state, "prompts": None})
    assert resumed.worker.next_step == 1
