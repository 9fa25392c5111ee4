"""A clone takes over its donor's state and keeps its own settings.

Upstream it may not: what a trainable stores of its settings in a checkpoint comes back when the recipient is restored,
and undoes the perturbation (ray#62173; an optimiser's learning rate is the usual case: ``param_groups`` hold it). The
fault is shown first, on a trainable written as many are, so that the same steps on ours mean something.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray import tune

from maxent_ray.config.loading import load_config
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.state import ControllerState
from maxent_ray.core.update_rules import Adam
from maxent_ray.train.worker_state import decode_state
from maxent_ray.tune.trainable import PopulationTrial
from maxent_ray.tune.trial_spec import TrialSpec, settings_json

TARGETS = ("controller.target_kl", "controller.target_entropy_fraction")


def exploit(
    trainable: type[tune.Trainable], donor: dict[str, Any], recipient: dict[str, Any], perturbed: Any, folder: Path
) -> tuple[Any, Any]:
    """What Tune does with reused actors: both train, the recipient is reset to new settings, then restored."""
    with ThreadPoolExecutor() as pool:  # their workers load libraries at the same time
        first, second = pool.map(trainable, (donor, recipient))
    first.train()
    second.train()
    first.save(str(folder))
    assert second.reset(perturbed)
    second.restore(str(folder))
    return first, second


class Usual(tune.Trainable):
    """As in many examples: a checkpoint holds the optimiser's whole state, and the settings with it."""

    def setup(self, config: dict[str, Any]) -> None:
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.optimizer = torch.optim.SGD([self.weight], lr=config["lr"])
        self.target = config["target"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        self.optimizer.zero_grad()
        (self.weight - self.target).square().sum().backward()
        self.optimizer.step()
        return {"weight": self.weight.item()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        state = {"weight": self.weight.data, "optimizer": self.optimizer.state_dict(), "target": self.target}
        torch.save(state, Path(checkpoint_dir) / "state.pt")

    def load_checkpoint(self, checkpoint: Any) -> None:
        state = torch.load(Path(checkpoint) / "state.pt", weights_only=True)
        self.weight.data = state["weight"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.target = state["target"]


def test_upstream_a_restore_undoes_the_perturbation(tmp_path: Path) -> None:
    """The trial's configuration says one thing, what it trains with is another."""
    donor, recipient, perturbed = {"lr": 0.1, "target": 2.0}, {"lr": 0.3, "target": 4.0}, {"lr": 0.08, "target": 1.6}
    _, clone = exploit(Usual, donor, recipient, perturbed, tmp_path)
    assert clone.config == perturbed
    assert clone.optimizer.param_groups[0]["lr"] == donor["lr"] != perturbed["lr"]
    assert clone.target == donor["target"] != perturbed["target"]


@dataclass(frozen=True)
class Clone:
    """The donor, the recipient after the exploit, and what the recipient should have taken over."""

    donor: PopulationTrial
    recipient: PopulationTrial
    perturbed: TrialSpec

    @property
    def config(self) -> ControllerConfig:
        """The controller's settings that the recipient was given."""
        return self.perturbed.experiment().controller_config()


def spec(name: str, **values: float) -> TrialSpec:
    shared = load_config(
        overrides=[
            "train.steps=8",
            "tune.steps_per_report=3",
            "tune.perturbation_interval=3",
            "task.held_out_prompts=8",
            "evaluation.prompts=4",
            "evaluation.samples=2",
            "grpo.group_size=4",
            "grpo.prompts_per_step=4",
            "grpo.max_new_tokens=8",
            "controller.tau_rule={type: adam, ema_decay: 0.5}",
            "controller.beta_rule={type: adam, ema_decay: 0.5}",
        ]
    )
    keys = {key.replace("__", "."): value for key, value in values.items()}
    return TrialSpec(name, "analytic", settings_json(shared), keys)


DONOR = spec(
    "donor",
    controller__target_kl=0.0513,
    controller__target_entropy_fraction=0.8937,
    controller__tau_max=100.0,
    controller__beta_min=1e-4,
    controller__tau_rule__learning_rate=0.3119,
    controller__beta_rule__learning_rate=0.2917,
    grpo__learning_rate=1.1e-3,
)
RECIPIENT = replace(DONOR, trial="recipient", values={**DONOR.values, "controller.target_kl": 0.2})
PERTURBED = {
    "controller.target_kl": 0.06,
    "controller.target_entropy_fraction": 0.72,
    "controller.tau_max": 80.0,
    "controller.beta_min": 0.09,  # above the donor's β, which starts at 0.1 and falls while KL is below its target
    "controller.tau_rule.learning_rate": 0.24,
    "controller.beta_rule.learning_rate": 0.36,
    "grpo.learning_rate": 8e-4,
}


@pytest.fixture(scope="module")
def clone(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """Real workers, real controllers."""
    perturbed = RECIPIENT.cloned_from(DONOR, PERTURBED)
    configs = [each.to_config() for each in (DONOR, RECIPIENT, perturbed)]
    donor, recipient = exploit(PopulationTrial, *configs, tmp_path_factory.mktemp("exploit"))
    yield Clone(donor, recipient, perturbed)
    donor.stop()
    recipient.stop()


def state_of(trial: PopulationTrial) -> dict[str, Any]:
    """All of a trial's state, from its workers."""
    return decode_state(trial._group.state_dict(), "state")


def controller_state(trial: PopulationTrial) -> ControllerState:
    return ControllerState.from_dict(state_of(trial)["controller"]["state"])


def in_worker(trial: PopulationTrial, look: Any) -> Any:
    """What a function sees of the training worker, in the worker's own process."""
    (rank,) = trial._group._ranks
    return ray.get(rank.__ray_call__.remote(lambda process: look(process.worker)))


@pytest.mark.ray
@pytest.mark.slow
def test_parameters_moments_and_step_are_the_donors(clone: Clone) -> None:
    donor, recipient = state_of(clone.donor), state_of(clone.recipient)
    assert recipient["step"] == donor["step"] == 3
    assert recipient["model"].keys() == donor["model"].keys()
    for name, parameter in donor["model"].items():
        assert torch.equal(recipient["model"][name], parameter), name
    assert recipient["optimizer"].keys() == donor["optimizer"].keys() != set()
    for index, moments in donor["optimizer"].items():
        for name, moment in moments.items():
            assert torch.equal(recipient["optimizer"][index][name], moment), (index, name)


@pytest.mark.ray
@pytest.mark.slow
def test_the_controllers_state_is_the_donors_inside_the_new_bounds(clone: Clone) -> None:
    donor, recipient = controller_state(clone.donor), controller_state(clone.recipient)
    assert 0 < donor.beta < 0.09
    assert donor.version == 3 and donor.tau_rule and donor.beta_rule
    assert recipient == replace(donor, beta=0.09)


@pytest.mark.ray
@pytest.mark.slow
def test_the_worker_trains_with_the_perturbed_settings(clone: Clone) -> None:
    rates = in_worker(clone.recipient, lambda worker: [group["lr"] for group in worker.optimizer.param_groups])
    assert set(rates) == {8e-4}
    experiment, controller = in_worker(clone.recipient, lambda worker: (worker.config, worker._controller))
    assert experiment == clone.perturbed.experiment()
    assert controller == clone.config
    assert in_worker(clone.donor, lambda worker: worker.optimizer.param_groups[0]["lr"]) == 1.1e-3


@pytest.mark.ray
@pytest.mark.slow
def test_the_controller_decides_with_the_perturbed_settings(clone: Clone) -> None:
    """Each request carries the client's settings; and seen in what it decides next."""
    assert in_worker(clone.recipient, lambda worker: worker.client._config) == clone.config
    assert clone.config.target_kl == 0.06 and clone.config.beta_min == 0.09
    assert clone.config.tau_rule == Adam(learning_rate=0.24, ema_decay=0.5)
    before = Controller(clone.config).adopt(controller_state(clone.donor))
    result = clone.recipient.train()
    first, *_, last = result["decisions"]
    assert (first["step"], first["version"], last["step"]) == (3, 4, 5)
    assert first["previous_tau"] == before.tau and first["previous_beta"] == before.beta
    for decision in result["decisions"]:
        assert decision["target_kl"] == 0.06
        assert decision["target_entropy"] == clone.config.target_entropy_at(decision["step"])
        assert decision["beta"] >= 0.09
    assert {(row["trial"], row["segment"]) for row in result["rows"]} == {("recipient", 1)}


@pytest.mark.ray
@pytest.mark.slow
def test_no_setting_is_in_the_checkpoint(clone: Clone, tmp_path: Path) -> None:
    """Not by its name and not by its value: the donor's values are numbers that nothing else takes."""
    clone.donor.save(str(tmp_path))
    state = state_of(clone.donor)
    progress = json.loads((tmp_path / "progress.json").read_text())
    held = json.dumps([state["controller"], state["step"], progress])
    for name, value in DONOR.values.items():
        assert f'"{name.rpartition(".")[2]}"' not in held
        if value not in (100.0, 1e-4):
            assert value not in set(numbers(json.loads(held))), name
    assert all(moments.keys() == {"step", "exp_avg", "exp_avg_sq"} for moments in state["optimizer"].values())


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from numbers(each)
    elif isinstance(value, int | float):
        yield value
