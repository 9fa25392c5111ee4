from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import pytest

from maxent_ray.config.loading import load_config
from maxent_ray.errors import ConfigError
from maxent_ray.storage.run_files import RUNGS
from maxent_ray.tune.comparison import check_scheduler
from maxent_ray.tune.early_stopping import StratifiedASHA, read_rungs
from maxent_ray.tune.recording import Recorder
from maxent_ray.tune.scheduling import Rung
from maxent_ray.tune.trial_spec import TrialSpec, settings_json
from tests.tune.fake_tune import FakeTrial

CONFIG = load_config(overrides=["train.steps=12", "tune.scheduler=asha", "tune.grace_period=4"])


class Run:
    """Reports of trials, and what becomes of each."""

    def __init__(self, rungs: Iterable[Rung] = ()) -> None:
        self.rungs: list[Rung] = []
        self.scheduler = StratifiedASHA(CONFIG, rungs=rungs, on_rung=self.rungs.append)

    def report(self, trial: str, steps: int, score: float) -> str:
        spec = TrialSpec(trial, trial.rpartition("-")[0] or trial, settings_json(CONFIG), {})
        result = {"steps": steps, "score": score}
        return self.scheduler.on_trial_result(None, FakeTrial(spec.to_config()), result)  # type: ignore[arg-type]


def test_the_lower_half_of_an_objective_is_stopped_at_each_rung() -> None:
    run = Run()
    assert [run.report(f"analytic-{i}", 4, score) for i, score in enumerate((0.3, 0.4, 0.2, 0.34, 0.36))] == [
        "CONTINUE",  # the first
        "CONTINUE",  # above .3
        "STOP",  # below .35, the median of .3 and .4
        "CONTINUE",  # above .3, the median of .2, .3 and .4
        "CONTINUE",  # above .32, the median of four
    ]
    assert [rung.cutoff for rung in run.rungs] == [None, 0.3, 0.35, 0.3, pytest.approx(0.32)]
    assert run.report("analytic-1", 8, 0.5) == "CONTINUE" and run.report("analytic-0", 8, 0.4) == "STOP"
    assert [(rung.trial, rung.rung, rung.stopped) for rung in run.rungs[-2:]] == [
        ("analytic-1", 8.0, False),
        ("analytic-0", 8.0, True),
    ]


def test_between_rungs_nothing_is_decided() -> None:
    run = Run()
    run.report("analytic-0", 4, 0.9)
    assert [run.report("analytic-1", steps, 0.1) for steps in (1, 2, 3)] == ["CONTINUE"] * 3
    assert run.report("analytic-0", 6, 0.0) == "CONTINUE"
    assert len(run.rungs) == 1


def test_objectives_are_compared_with_themselves_and_references_with_none() -> None:
    run = Run()
    run.report("analytic-0", 4, 0.9)
    assert run.report("truncated_backprop-0", 4, 0.1) == "CONTINUE"
    assert run.report("grpo", 4, 0.0) == run.report("fixed", 8, 0.0) == "CONTINUE"
    assert {rung.objective for rung in run.rungs} == {"analytic", "truncated_backprop"}


def test_a_score_that_is_not_finite_is_compared_with_none() -> None:
    run = Run()
    assert run.report("analytic-0", 4, math.nan) == "CONTINUE"
    assert run.report("analytic-1", 4, 0.3) == "CONTINUE" and run.rungs[0].cutoff is None


def test_a_resumed_run_decides_as_it_would_have(tmp_path: Path) -> None:
    whole, first = Run(), Run()
    reports = [(f"analytic-{i}", 4, score) for i, score in enumerate((0.3, 0.4, 0.2, 0.34, 0.36, 0.31))]
    decided = [whole.report(*report) for report in reports]
    for report in reports[:3]:
        first.report(*report)
    recorder = Recorder(tmp_path)
    for rung in first.rungs:
        recorder.on_rung(rung)
    assert set(recorder.stopped) == {"analytic-2"}
    rungs = read_rungs(tmp_path)
    assert rungs == first.rungs and (tmp_path / RUNGS).is_file()
    second = Run(rungs)
    assert [second.report(*report) for report in reports[3:]] == decided[3:]
    assert second.report("analytic-2", 6, 0.9) == "STOP", "killed before Tune had saved that it was stopped"


def test_a_comparison_stops_nothing_early() -> None:
    with pytest.raises(ConfigError, match=r"tune\.scheduler is 'asha'.*use it with sweep"):
        check_scheduler(CONFIG)
