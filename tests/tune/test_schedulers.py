from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Trial

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import load_config
from maxent_ray.tune.search_space import build_search_space
from maxent_ray.tune.trial_spec import TrialSpec, population, references, settings_json
from tests.tune.fake_tune import FakeTune

KL = "controller.target_kl"


def experiment(*overrides: str) -> ExperimentConfig:
    return load_config(
        overrides=[
            "tune.perturbation_interval=10",
            "tune.trials_per_objective=4",
            "train.steps=40",
            *overrides,
        ]
    )


def fake(*overrides: str, seed: int = 0, with_references: bool = False) -> FakeTune:
    config = experiment(*overrides)
    space = build_search_space(config)
    specs = population(config, space) + (references(config, space) if with_references else [])
    return FakeTune(config.tune, space, specs, seed)


def round_of(tune: FakeTune, steps: int, scores: dict[str, float]) -> None:
    for name, score in scores.items():
        assert tune.report(name, steps, score) == "PAUSE"
    tune.choose()


def ranked(tune: FakeTune, offset: float = 100.0) -> dict[str, float]:
    """Analytic 0 … 3, truncated backprop 100 … 103."""
    names = [str(trial.config["trial"]) for trial in tune.trials if "-" in trial.config["trial"]]
    return {name: int(name[-1]) + (offset if name.startswith("truncated") else 0.0) for name in names}


def test_strata_never_mix_however_far_apart_their_scores_are() -> None:
    tune = fake()
    round_of(tune, 10, ranked(tune))
    assert tune.lineage() == [
        (10, "analytic-0", "analytic-3"),
        (10, "truncated_backprop-0", "truncated_backprop-3"),
    ]
    for exploit in tune.exploits:
        assert exploit.recipient_objective == exploit.donor_objective == exploit.new_objective


def test_a_tournament_lets_an_objective_spread() -> None:
    tune = fake("tune.mode=tournament")
    round_of(tune, 10, ranked(tune))
    assert {exploit.recipient for exploit in tune.exploits} == {"analytic-0", "analytic-1"}
    assert {exploit.new_objective for exploit in tune.exploits} == {"truncated_backprop"}
    assert tune["analytic-0"].config["objective"] == "truncated_backprop"
    assert tune["analytic-0"].config["trial"] == "analytic-0"


def test_a_clone_gets_the_donors_checkpoint_and_perturbed_values_inside_the_bounds() -> None:
    tune = fake()
    before = TrialSpec.from_config(tune["analytic-0"].config)
    donor = TrialSpec.from_config(tune["analytic-3"].config)
    round_of(tune, 10, ranked(tune))
    clone = TrialSpec.from_config(tune["analytic-0"].config)
    exploit = tune.exploits[0]
    latest = tune["analytic-0"].run_metadata.checkpoint_manager._latest_checkpoint_result
    assert latest.checkpoint == "analytic-3@10"
    assert (exploit.old, exploit.new) == (before.values, clone.values)
    assert (clone.trial, clone.segment, before.segment) == ("analytic-0", 1, 0)
    domain = experiment().tune.search_space[KL]
    assert domain.low <= clone.values[KL] <= domain.high  # type: ignore[union-attr]
    assert clone.values != donor.values
    assert (exploit.score_recipient, exploit.score_donor) == (0.0, 3.0)


def test_a_score_that_is_no_number_is_replaced_and_never_a_donor() -> None:
    tune = fake("tune.objectives=[analytic]")
    round_of(tune, 10, {f"analytic-{i}": score for i, score in enumerate((0.1, math.nan, 0.2, 0.3))})
    assert tune.lineage() == [(10, "analytic-1", "analytic-3")]
    tune = fake("tune.objectives=[analytic]")
    round_of(tune, 10, {f"analytic-{i}": math.nan for i in range(4)})
    assert tune.lineage() == []


def test_equal_scores_are_no_reason_to_clone() -> None:
    tune = fake("tune.objectives=[analytic]")
    round_of(tune, 10, {f"analytic-{i}": 0.5 for i in range(4)})
    assert tune.lineage() == []
    assert tune.choose() == "analytic-0"  # and training goes on


def test_a_single_trial_is_left_alone() -> None:
    tune = fake("tune.trials_per_objective=1")
    round_of(tune, 10, ranked(tune))
    assert tune.lineage() == []


def test_nothing_is_perturbed_before_the_last_trial_has_paused_and_no_one_runs_past_it() -> None:
    tune = fake("tune.objectives=[analytic]")
    assert tune.report("analytic-0", 5, 0.9) == "CONTINUE"
    for index in range(3):
        assert tune.report(f"analytic-{index}", 10, float(index)) == "PAUSE"
    assert tune.choose() == "analytic-3"  # the others are at the boundary
    assert tune.exploits == []
    tune["analytic-3"].status = Trial.RUNNING
    assert tune.choose() is None
    tune.report("analytic-3", 10, 3.0)
    assert tune.choose() == "analytic-0"
    assert len(tune.exploits) == 1


def test_a_stratum_does_not_wait_for_another_one() -> None:
    tune = fake()
    for index in range(4):
        tune.report(f"analytic-{index}", 10, float(index))
    tune.choose()
    assert tune.lineage() == [(10, "analytic-0", "analytic-3")]


@pytest.mark.parametrize("end", [Trial.ERROR, Trial.TERMINATED])
def test_a_trial_that_ended_is_not_waited_for(end: str) -> None:
    tune = fake("tune.objectives=[analytic]")
    for index in range(3):
        tune.report(f"analytic-{index}", 10, float(index))
    tune["analytic-3"].status = end
    assert tune.choose() == "analytic-0"
    assert tune.lineage() == [(10, "analytic-0", "analytic-2")]


def test_the_order_of_arrival_changes_nothing() -> None:
    forwards, backwards = fake(seed=5), fake(seed=5)
    scores = ranked(forwards)
    round_of(forwards, 10, scores)
    round_of(backwards, 10, dict(reversed(scores.items())))
    assert forwards.exploits == backwards.exploits
    other = fake(seed=6)
    round_of(other, 10, scores)
    assert [exploit.new for exploit in other.exploits] != [exploit.new for exploit in forwards.exploits]


def test_references_train_on_and_are_never_cloned() -> None:
    tune = fake(with_references=True)
    for steps in (5, 10, 15):
        assert tune.report("grpo", steps, 1e9) == "CONTINUE"
    round_of(tune, 10, ranked(tune))
    assert {exploit.donor for exploit in tune.exploits} == {"analytic-3", "truncated_backprop-3"}
    for trial in tune.trials:
        trial.status = Trial.PAUSED if "-" in str(trial.config["trial"]) else Trial.PENDING
    assert tune.choose() == "analytic-0"  # references only fill gaps


def test_a_perturbation_is_written_to_tunes_state_at_once() -> None:
    tune = fake("tune.objectives=[analytic]")
    round_of(tune, 10, {f"analytic-{i}": float(i) for i in range(4)})
    assert tune.marked == set(tune.trials)
    assert {trial.config["round"] for trial in tune.trials} == {1}


def restored(tune: FakeTune, name: str, steps: int, score: float, round_number: int) -> None:
    trial = tune[name]
    del tune.scheduler._trial_state[trial]
    trial.set_config({**trial.config, "round": round_number})
    trial.checkpoint = f"{name}@{steps}"
    trial.latest_checkpoint_result = SimpleNamespace(
        checkpoint=trial.checkpoint, metrics={"steps": steps, "score": score}
    )
    tune.scheduler.on_trial_add(tune, trial)  # type: ignore[arg-type]


def test_after_an_interruption_trials_at_the_boundary_wait_and_are_perturbed_once() -> None:
    tune = fake("tune.objectives=[analytic]")
    for index in range(3):
        restored(tune, f"analytic-{index}", 10, float(index), round_number=0)
        assert tune[f"analytic-{index}"].status == Trial.PAUSED
    restored(tune, "analytic-3", 5, 0.0, round_number=0)
    assert tune.choose() == "analytic-3"
    tune.report("analytic-3", 10, 3.0)
    tune.choose()
    assert tune.lineage() == [(10, "analytic-0", "analytic-3")]


def test_after_an_interruption_a_perturbation_is_not_repeated() -> None:
    tune = fake("tune.objectives=[analytic]")
    for index in range(4):
        restored(tune, f"analytic-{index}", 10, float(index), round_number=1)
        assert tune[f"analytic-{index}"].status == Trial.PENDING
    assert tune.choose() == "analytic-0"
    assert tune.exploits == []
    assert tune.report("analytic-0", 15) == "CONTINUE"
    assert tune.report("analytic-0", 20) == "PAUSE"


def test_a_straggler_from_an_earlier_round_catches_up_alone() -> None:
    tune = fake("tune.objectives=[analytic]")
    for index in range(3):
        restored(tune, f"analytic-{index}", 20, float(index), round_number=1)
    restored(tune, "analytic-3", 5, 9.0, round_number=0)
    tune.report("analytic-3", 10, 9.0)
    assert tune.choose() == "analytic-3"  # through its own boundary, without a clone
    assert tune.exploits == []
    tune.report("analytic-3", 20, 9.0)
    tune.choose()
    assert tune.lineage() == [(20, "analytic-0", "analytic-3")]


def test_an_empty_search_space_still_exploits() -> None:
    config = experiment("tune.search_space={}", "tune.objectives=[analytic]")
    settings = settings_json(config)
    specs = [TrialSpec(f"analytic-{i}", "analytic", settings) for i in range(2)]
    tune = FakeTune(config.tune, build_search_space(config), specs)
    round_of(tune, 10, {"analytic-0": 1.0, "analytic-1": 2.0})
    assert tune.lineage() == [(10, "analytic-0", "analytic-1")]
