"""Populations over RLlib: what a trial is, what a checkpoint leaves alone, and one whole small run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ray.rllib.algorithms.ppo import PPOConfig

from maxent_ray.config import AlgorithmSettings, RLlibConfig, RLlibTrainSettings, RLlibTuneSettings
from maxent_ray.errors import ConfigError
from maxent_ray.rllib import control
from maxent_ray.rllib.settings import KEY
from maxent_ray.tune.rllib_member import RLlibMember
from maxent_ray.tune.rllib_population import compare_rllib, rllib_trials
from maxent_ray.tune.rllib_space import rllib_search_space
from maxent_ray.tune.rllib_trial import RLlibTrial
from tests.rllib.tiny import of_learners, ppo

LR = {"type": "loguniform", "low": 1e-4, "high": 1e-2}
KL = {"type": "loguniform", "low": 0.003, "high": 0.03}
SPACE = {"rllib.lr": LR, "controller.target_kl": KL}
OBJECTIVES = ("analytic", "truncated_backprop")
VALUES = {"rllib.lr": 0.003, "controller.target_kl": 0.02}


def member(objective: str = "analytic", space: dict[str, Any] = SPACE, **controller: Any) -> RLlibMember:
    config = RLlibConfig(
        rllib=AlgorithmSettings(algorithm="PPO"),
        controller={"target_kl": 0.01, **controller},
        train=RLlibTrainSettings(steps=5),
        tune=RLlibTuneSettings(search_space=space, perturbation_interval=2, trials_per_objective=2),
    )
    return RLlibMember(f"{objective}-0", objective, config.model_dump_json(), VALUES, base=ppo())


def controller_of(config: PPOConfig) -> dict[str, Any]:
    found: dict[str, Any] = config.learner_config_dict[KEY]["controller"]
    return found


def test_values_become_settings_of_rllib_and_of_the_controller() -> None:
    made = member(beta_rule={"type": "pi", "learning_rate": 0.1}).with_values(
        {**VALUES, "controller.beta_rule.learning_rate": 0.2, "rllib.train_batch_size_per_learner": 64}
    )
    config = made.algorithm("run")
    assert (config.lr, config.train_batch_size_per_learner) == (0.003, 64)
    assert controller_of(config)["target_kl"] == 0.02
    assert controller_of(config)["beta_rule"] == {"type": "pi", "learning_rate": 0.2}
    assert made.base is not None and made.base.lr != 0.003


def test_references_are_rllibs_own_rule_with_the_same_target_and_fixed_coefficients() -> None:
    own_rule, fixed = member("rllib"), member("fixed")
    assert own_rule.is_reference and fixed.is_reference and not member().is_reference
    assert KEY not in own_rule.algorithm("run").learner_config_dict
    assert own_rule.algorithm("run").kl_target == 0.02
    assert controller_of(fixed.algorithm("run"))["objective"] is None


def test_a_member_travels_in_trial_config() -> None:
    made = member()
    read = RLlibMember.reader(ppo())(json.loads(json.dumps(made.to_config())))
    assert read == made and read.names == ("analytic-0",) and read.steps == 5


def test_trials_of_all_objectives_start_from_the_same_values_and_references_from_the_runs() -> None:
    first = member()
    trials = {trial.trial: trial for trial in rllib_trials(first, rllib_search_space(first))}
    assert list(trials) == ["analytic-0", "analytic-1", "rllib", "fixed"]
    assert trials["analytic-0"].values != trials["analytic-1"].values
    assert trials["rllib"].values == {"rllib.lr": ppo().lr, "controller.target_kl": 0.01}


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({}, "search_space is empty"),
        ({"lr": LR}, r"'lr', which is neither an argument of control\(\)"),
        ({"rllib.lrr": LR}, r"rllib\.lrr is no setting of PPOConfig"),
        ({"controller.objective": {"type": "choice", "values": ["analytic"]}}, "'controller.objective'; leave it out"),
        ({"controller.target_kll": KL}, "'target_kll' is no setting of ControllerConfig"),
        (
            {"controller.target_entropy": {"type": "uniform", "low": 0.1, "high": 2.0}},
            r"'controller.target_entropy'\] reaches 2.0",
        ),
    ],
    ids=["empty", "no section", "no setting", "objective", "no argument", "out of reach"],
)
def test_a_search_that_makes_no_sense_is_refused(space: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        rllib_search_space(member(space=space))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"objectives": ["analytic", "rllib"]}, "no reference"),
        ({"objectives": ["analytc"]}, "objective.type is 'analytc'"),
        ({"perturbation_intervall": 3}, "perturbation_intervall is 3"),
        ({"control": {"target_kl": object()}}, "cannot be written to a file"),
        ({"steps": 0}, "^steps is 0"),
        ({"search_space": {"rllib.lr": {**LR, "low": "a"}}}, r"^search_space\.rllib\.lr\.low is 'a': "),
    ],
    ids=["reference", "objective", "setting", "object", "steps", "domain"],
)
def test_a_population_that_makes_no_sense_starts_nothing(tmp_path: Path, arguments: dict[str, Any], says: str) -> None:
    usual: dict[str, Any] = {"search_space": SPACE, "steps": 5, "control": {"target_kl": 0.01}}
    with pytest.raises(ConfigError, match=says):
        compare_rllib(ppo(), name="a", results=tmp_path, **{**usual, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_an_algorithm_that_has_a_controller_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the algorithm has a controller"):
        compare_rllib(control(ppo(), target_kl=0.1), name="a", results=tmp_path, search_space=SPACE, steps=5)


def trial(values: dict[str, Any], name: str = "analytic-0") -> RLlibTrial:
    made = RLlibTrial.__new__(RLlibTrial)  # as Tune's constructor would, but for its folders
    made._storage = None
    made.setup(RLlibMember(name, "analytic", member().settings, values).to_config(), base=ppo())
    return made


def learning_rates(made: RLlibTrial) -> list[float]:
    (learner,) = of_learners(made._algorithm, lambda learner: learner)
    return [group["lr"] for optimizer in learner._named_optimizers.values() for group in optimizer.param_groups]


@pytest.mark.ray
def test_settings_stay_the_recipients_and_state_becomes_the_donors(ray_cluster: None, tmp_path: Path) -> None:
    donor, recipient = trial(VALUES), trial({"rllib.lr": 0.001, "controller.target_kl": 0.005}, "analytic-1")
    try:
        for _ in range(2):
            donor.step()
        donor.save_checkpoint(str(tmp_path))
        recipient.load_checkpoint(str(tmp_path))
        assert learning_rates(donor) == [0.003] and learning_rates(recipient) == [0.001]
        after = recipient.step()
        (row,) = after["rows"]
        assert (row["trial"], row["step"], row["target_kl"], after["steps"]) == ("analytic-1", 2, 0.005, 3)
        assert row["version"] == donor.step()["rows"][0]["version"] == 2
        assert {each["step"] for each in after["decisions"]} <= {1, 2}
    finally:
        donor.cleanup()
        recipient.cleanup()


@pytest.mark.ray
@pytest.mark.slow
def test_a_population_trains_to_its_end_and_clones_inside_its_objective(ray_cluster: None, tmp_path: Path) -> None:
    result = compare_rllib(
        ppo(),
        name="pop",
        results=tmp_path,
        search_space=SPACE,
        steps=5,
        objectives=OBJECTIVES,
        control={"target_kl": 0.01},
        trials_per_objective=2,
        perturbation_interval=2,
        quantile_fraction=0.5,
    )
    own = {f"{objective}-{index}" for objective in OBJECTIVES for index in range(2)}
    assert set(result.finished) == own | {"rllib", "fixed"}
    rows = [json.loads(line) for line in (tmp_path / "pop" / "rows.jsonl").read_text().splitlines()]
    assert sorted((row["trial"], row["step"]) for row in rows) == sorted(
        (name, step) for name in result.finished for step in range(5)
    )
    lineage = [json.loads(line) for line in (tmp_path / "pop" / "lineage.jsonl").read_text().splitlines()]
    assert {each["recipient_objective"] for each in lineage} == {*OBJECTIVES}
    assert all(each["donor_objective"] == each["recipient_objective"] for each in lineage)
    decisions = [json.loads(line) for line in (tmp_path / "pop" / "decisions.jsonl").read_text().splitlines()]
    sources = {(each["trial"].rpartition("-")[0], each["source"]) for each in decisions if each["trial"] in own}
    assert sources == {(objective, objective) for objective in OBJECTIVES}
    assert {each["reason"] for each in decisions if each["trial"] in own} <= {"updated", "clipped"}
    for clone in lineage:
        first = next(r for r in rows if (r["trial"], r["step"]) == (clone["recipient"], clone["step"]))
        assert first["target_kl"] == pytest.approx(clone["new"]["controller.target_kl"])
