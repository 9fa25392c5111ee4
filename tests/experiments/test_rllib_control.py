"""RLlib's arms are measured alike, a run is not repeated, and the tables follow from the lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray.cloudpickle

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))

import rllib_control
import rllib_control_report
import rllib_tasks
from rllib_control import Constants, Run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Updates of 4 minibatches; workers get the scripts by value, since they are on no path of theirs."""
    for name, value in (("train_batch_size_per_learner", 128), ("minibatch_size", 64), ("num_epochs", 2)):
        monkeypatch.setitem(rllib_tasks.COMMON, name, value)
    monkeypatch.setattr(rllib_tasks, "COPIES", 2)
    modules = (rllib_control, rllib_tasks)
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    yield
    for module in modules:
        ray.cloudpickle.unregister_pickle_by_value(module)


def line(arm: str, seed: int, kl: list[float], returns: list[float | None], **columns: list[float]) -> dict[str, Any]:
    """A run's line on CartPole."""
    same = {name: [1.0] * len(kl) for name in ("entropy", "tau", "beta", "seconds")}
    run = Run("CartPole", "kl .01", arm, seed)
    return {**run._asdict(), **same, "kl": kl, "kl_last_minibatch": kl, "return": returns, **columns}


def test_arms_are_measured_alike() -> None:
    """The first update, which no arm has moved a coefficient for yet, is the same in all of them."""
    constant = Constants(tau=0.0, beta=0.2)
    first = {
        arm: rllib_control.train(Run("CartPole", "kl .01", arm, 0), constant, iterations=1)
        for arm in rllib_control.ARMS
    }
    for name in ("kl", "entropy", "tau", "beta", "kl_last_minibatch"):
        assert {arm: found[name] for arm, found in first.items()} == dict.fromkeys(
            first, pytest.approx(first["fast"][name])
        )
    assert first["rllib"]["kl"][0] > 0


def test_every_environment_has_its_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log where it runs
    for task in rllib_tasks.TASKS:
        found = rllib_control.train(Run(task, "kl .01, entropy", "fast", 0), iterations=1)
        assert found["tau"] == [pytest.approx(rllib_control.ENTROPY_COEFF)]
        assert found["seed"] == 0


def test_a_run_with_a_line_is_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, output = [Run("CartPole", "kl .03", arm, 2) for arm in ("rllib", "fixed")], tmp_path / "runs.jsonl"
    assert rllib_control.run_all(runs, output, processes=2, budget=60.0, iterations=1) == 1
    assert "run with --seeds 0-1 --arms 'fast once' first" in capsys.readouterr().out
    written = output.read_text()
    assert [json.loads(each)["arm"] for each in written.splitlines()] == ["rllib"]
    assert rllib_control.run_all(runs[:1], output, processes=2, budget=60.0, iterations=1) == 0
    assert output.read_text() == written
    assert rllib_control.run_all(runs[1:], output, processes=2, budget=-1.0, iterations=1) == 0


def test_iterations_are_judged_after_the_burn_in_until_the_task_is_solved() -> None:
    unsolved, solved = [None, *[1.0] * 19], [1.0] * 15 + [475.0] + [1.0] * 4
    assert rllib_control.judged(line("fast", 0, [0.01] * 20, unsolved), range(20)) == range(10, 20)
    assert rllib_control.judged(line("fast", 0, [0.01] * 20, solved), range(20)) == range(10, 15)


def test_constants_are_medians_of_the_judged_iterations_on_the_seeds_that_choose() -> None:
    beta = [9.0] * 10 + [1.0, 2.0, 3.0]
    lines = [line("fast once", seed, [0.01] * 13, [0.0] * 13, beta=beta, tau=[0.0] * 13) for seed in (0, 1)]
    lines += [line("fast once", 2, [0.01] * 13, [0.0] * 13), line("auto", 0, [0.01] * 13, [0.0] * 13)]
    assert rllib_control.constants(lines, Run("CartPole", "kl .01", "fixed", 4)) == Constants(tau=0.0, beta=2.0)
    assert rllib_control.constants(lines, Run("CartPole", "kl .03", "fixed", 4)) is None


def test_the_report_compares_with_rllib_on_the_same_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kl = {"rllib": [9.0] * 10 + [0.005, 0.015] * 5, "fast": [9.0] * 10 + [0.0075, 0.0125] * 5}
    lines = [line(arm, seed, kl[arm], [float(seed)] * 20) for arm in kl for seed in (0, 2, 3)]
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    monkeypatch.setattr(sys, "argv", ["", "--runs", str(tmp_path / "runs.jsonl"), "--output", str(tmp_path / "out")])
    rllib_control_report.main()
    assert "| CartPole | kl .01 | – | 0.5 [0.5, 0.5] | – | – | 0.25 [0.25, 0.25] | – | – |" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["relative_to_rllib"]["fast"]["mean_error"] == pytest.approx(
        {"ratio": 0.5, "low": 0.5, "high": 0.5, "pairs": 2}
    )
    assert {run["seed"] for run in summary["runs"]} == {2, 3}
    for name in ("kl.png", "errors.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
