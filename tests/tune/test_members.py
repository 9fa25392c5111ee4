"""The schedulers know trials by an interface: another trainer's own description and result keys will do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray.tune.experiment import Trial

from maxent_ray.config import LogUniform, PopulationSettings
from maxent_ray.errors import ConfigError
from maxent_ray.tune.member import FlatMember, ResultKeys
from maxent_ray.tune.recording import Recorder
from maxent_ray.tune.schedulers import StratifiedPBT
from maxent_ray.tune.scheduling import Exploit
from maxent_ray.tune.search_space import SearchKey, SearchSpace
from tests.tune.fake_tune import FakeTrial, FakeTune

SPACE = SearchSpace((SearchKey("rate", LogUniform(low=1e-4, high=1e-2), integer=False),))
KEYS = ResultKeys(time="iterations", score="return", records=("lines",))


@dataclass(frozen=True)
class Own(FlatMember):
    """A trial of some other trainer; it has two names in the records."""

    @property
    def is_reference(self) -> bool:
        return self.objective == "untouched"

    @property
    def steps(self) -> int:
        return 40

    @property
    def names(self) -> Sequence[str]:
        return (f"{self.trial}/left", f"{self.trial}/right")

    @property
    def reported_settings(self) -> Mapping[str, Any]:
        return self.values

    @property
    def overrides(self) -> Mapping[str, Any]:
        return self.values

    def check(self) -> None:
        if self.values["rate"] > 0.005:
            raise ConfigError("rate is too high")


class OwnTune(FakeTune):
    def __init__(self, members: list[Own]) -> None:
        self.exploits: list[Exploit] = []
        settings = PopulationSettings(perturbation_interval=10, quantile_fraction=0.5)
        self.scheduler = StratifiedPBT(
            settings, SPACE, seed=0, on_exploit=self.exploits.append, read=Own.from_config, keys=KEYS
        )
        self.search_alg = None
        self.trials = [FakeTrial(member.to_config()) for member in members]
        self.marked: set[FakeTrial] = set()
        self._tune_controller = self
        for trial in self.trials:
            self.scheduler.on_trial_add(self, trial)  # type: ignore[arg-type]

    def report(self, name: str, steps: int, score: float = 0.0) -> str:
        trial = self[name]
        trial.status = Trial.RUNNING
        result = {"iterations": steps, "return": score, "lines": ["long"]}
        decision = self.scheduler.on_trial_result(self, trial, result)  # type: ignore[arg-type]
        if decision == "PAUSE":
            trial.checkpoint, trial.status = f"{name}@{steps}", Trial.PAUSED
        return decision


def members() -> list[Own]:
    own = [Own(f"{stratum}-{index}", stratum, "{}", {"rate": 0.004}) for stratum in "ab" for index in range(2)]
    return [*own, Own("untouched", "untouched", "{}", {"rate": 0.004})]


def test_clones_stay_in_their_stratum_valid_and_are_told_of_under_each_name() -> None:
    tune = OwnTune(members())
    for name, score in {"a-0": 1.0, "a-1": 2.0, "b-0": 9.0, "b-1": 8.0}.items():
        assert tune.report(name, 10, score) == "PAUSE"
    assert tune.report("untouched", 10) == "CONTINUE"
    tune.choose()
    assert [(each.recipient, each.donor) for each in tune.exploits] == [
        ("a-0/left", "a-1/left"),
        ("a-0/right", "a-1/right"),
        ("b-1/left", "b-0/left"),
        ("b-1/right", "b-0/right"),
    ]
    clone = Own.from_config(tune["a-0"].config)
    assert (clone.trial, clone.segment, clone.round) == ("a-0", 1, 1)
    assert clone.values["rate"] <= 0.005 and clone.values != members()[0].values


def test_records_are_not_kept_by_the_scheduler() -> None:
    tune = OwnTune(members())
    tune.report("a-0", 5, 1.0)
    state = tune.scheduler._trial_state[tune["a-0"]]  # type: ignore[index]
    assert state.last_result == {"iterations": 5, "return": 1.0}


def test_a_trial_with_two_names_is_recorded_under_both(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, command="own", read=Own.from_config)
    member = members()[0]
    recorder.on_plan([member])
    rows = [{"trial": name, "step": 0, "rank": 0, "segment": 0} for name in member.names]
    end = {"metrics": {}, "samples": []}
    result = {"rows": rows, "decisions": [], "evaluation": end, "config": member.to_config(), "steps": 1}
    recorder.on_trial_result(1, [], None, result)
    for file in ("trials.jsonl", "rows.jsonl", "evaluations.jsonl"):
        found = [json.loads(line)["trial"] for line in (tmp_path / file).read_text().splitlines()]
        assert found == list(member.names), file


@pytest.mark.parametrize("value", [{"type": "pi"}, "{a", "text", 0.1, None], ids=["mapping", "like", "text", "1", "no"])
def test_values_travel_unchanged(value: Any) -> None:
    member = FlatMember("a-0", "a", "{}", {"key": value})
    assert FlatMember.from_config(member.to_config()) == member
