"""Comparisons of toy trials on a real Ray cluster."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import ray

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import load_config
from maxent_ray.errors import ConfigError, MaxentRayError, RecordingError, ResourceError, ResumeError
from maxent_ray.storage.driver_lock import driver_lock
from maxent_ray.storage.row_listener import RowListener
from maxent_ray.storage.run_files import read_rows, read_samples
from maxent_ray.train.run_folder import RunInterrupted
from maxent_ray.tune import environment
from maxent_ray.tune.comparison import run_comparison
from maxent_ray.tune.execution import RunResult
from maxent_ray.tune.sweep import run_sweep
from maxent_ray.tune.trainable import PROGRESS, STATE, PopulationTrial
from tests.conftest import ROOT
from tests.storage.test_row_listener import Counting
from tests.train.ray_train.faults import wait_until
from tests.tune.toy import GATE, FragileTrial, GatedTrial, OneBreaks, OtherWork, ToyTrial

STEPS, INTERVAL = 12, 4
SMALL = (
    f"train.steps={STEPS}",
    f"tune.perturbation_interval={INTERVAL}",
    "tune.steps_per_report=2",
    "tune.trials_per_objective=3",
    "train.cpus_per_worker=2",
)
ONE_AT_A_TIME = "train.cpus_per_worker=4"
CHECKPOINTED = b"checkpoint_0".hex()
"""What Tune's state says of a trial with a checkpoint: that part is a pickle in hexadecimal digits."""


class Listener:
    """Follows a run; presses Ctrl-C after a number of steps."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.steps = 0
        self._interrupt_after = interrupt_after

    def update(self, trial: str, objective: str, row: Mapping[str, Any], clones: int) -> None: ...

    def state(self, trial: str, state: str) -> None: ...

    def advance(self, steps: int) -> None:
        self.steps += steps
        if self._interrupt_after is not None and self.steps >= self._interrupt_after:
            self._interrupt_after = None
            signal.raise_signal(signal.SIGINT)


def small(*overrides: str) -> ExperimentConfig:
    return load_config(overrides=[*SMALL, *overrides])


def compare(
    config: ExperimentConfig,
    results: Path,
    *,
    resume: bool = False,
    listeners: Sequence[RowListener] = (),
    trainable: type[PopulationTrial] = ToyTrial,
) -> RunResult:
    return run_comparison(config, name="toy", results=results, resume=resume, listeners=listeners, trainable=trainable)


def records(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def in_order(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["trial"], row["step"], row["rank"]))


def clones(folder: Path) -> list[dict[str, Any]]:
    latest = {(record["step"], record["recipient"]): record for record in records(folder, "lineage.jsonl")}
    return [latest[key] for key in sorted(latest)]


@contextmanager
def half_of_the_cluster() -> Iterator[None]:
    """Room for one trial at a time: the other eight are paused or waiting."""
    others = [OtherWork.remote() for _ in range(2)]
    ray.get([other.ready.remote() for other in others])
    yield
    for other in others:
        ray.kill(other)


@pytest.fixture(scope="module")
def undisturbed(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison from start to end, two trials at a time."""
    result = compare(small(), tmp_path_factory.mktemp("undisturbed"))
    assert len(result.finished) == 9 and not result.failed
    return result.folder


@pytest.mark.ray
def test_every_row_of_every_trial_is_recorded_once(undisturbed: Path) -> None:
    lines = records(undisturbed, "rows.jsonl")
    assert len(lines) == len(read_rows(undisturbed / "rows.jsonl")) == 8 * STEPS
    trials = {row["trial"] for row in lines}
    for trial in trials:
        assert sorted(row["step"] for row in lines if row["trial"] == trial) == list(range(STEPS))
    assert trials == {f"{o}-{i}" for o in ("analytic", "truncated_backprop") for i in range(3)} | {
        "grpo",
        "fixed",
    }
    versions = {(d["trial"], d["version"]) for d in records(undisturbed, "decisions.jsonl")}
    assert len(versions) == 8 * STEPS
    assert len(records(undisturbed, "evaluations.jsonl")) == 9
    asked = {(line["trial"], line["step"]) for line in read_samples(undisturbed / "samples.jsonl")}
    assert asked == {("warm_start", 0)} | {(trial, STEPS) for trial in trials}


@pytest.mark.ray
def test_clones_stay_in_their_objective_and_go_on_from_the_donors_state(undisturbed: Path) -> None:
    lineage = clones(undisturbed)
    assert [(record["step"], record["donor_objective"]) for record in lineage] == [
        (step, objective) for step in (4, 8) for objective in ("analytic", "truncated_backprop")
    ]
    rows = {(row["trial"], row["step"]): row for row in read_rows(undisturbed / "rows.jsonl")}
    for record in lineage:
        assert record["recipient_objective"] == record["donor_objective"] == record["new_objective"]
        donors_sum = rows[record["donor"], record["step"] - 1]["beta"]
        first = rows[record["recipient"], record["step"]]
        assert first["beta"] == pytest.approx(donors_sum + record["new"]["controller.target_kl"])
        assert first["segment"] == rows[record["recipient"], record["step"] - 1]["segment"] + 1


@pytest.mark.ray
def test_a_paused_trial_goes_on_where_it_was(undisturbed: Path) -> None:
    """Between clones the toy's sum grows by the trial's own setting each step, over every pause."""
    rows = in_order(read_rows(undisturbed / "rows.jsonl"))
    pairs = [(a, b) for a, b in pairwise(rows) if a["trial"] == b["trial"]]
    unbroken = [(a, b) for a, b in pairs if a["segment"] == b["segment"]]
    assert len(unbroken) == 8 * (STEPS - 1) - len(clones(undisturbed))
    for before, after in unbroken:
        offset = 100.0 if after["objective"] == "truncated_backprop" else 0.0
        assert after["beta"] - before["beta"] == pytest.approx(after["coverage"] - offset)


@pytest.mark.ray
def test_interrupted_and_resumed_with_fewer_processors_it_makes_the_same_decisions(
    undisturbed: Path, tmp_path: Path
) -> None:
    """Same seed, same lineage and same rows, however many trials run at a time, and even over a Ctrl-C."""
    folder = tmp_path / "toy"
    pattern = rf"of 9 trials are finished.*--resume {folder}"
    with half_of_the_cluster(), pytest.raises(RunInterrupted, match=pattern):
        compare(small(), tmp_path, listeners=[Listener(interrupt_after=4 * STEPS)])
    assert 4 * STEPS <= len(read_rows(folder / "rows.jsonl")) < 8 * STEPS
    listener = Listener()
    result = compare(small(), tmp_path, resume=True, listeners=[listener])
    assert len(result.finished) == 9
    assert listener.steps == 8 * STEPS  # those of the first part were replayed
    assert clones(folder) == clones(undisturbed)
    assert in_order(read_rows(folder / "rows.jsonl")) == in_order(read_rows(undisturbed / "rows.jsonl"))


class InterruptAfterClones(Listener):
    """Presses Ctrl-C at the first result after so many clones, of which the last ones have not run yet."""

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__()
        self._folder, self._count = folder, count

    def advance(self, steps: int) -> None:
        super().advance(steps)
        if len(clones(self._folder)) >= self._count:
            self._count = sys.maxsize
            signal.raise_signal(signal.SIGINT)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
def test_a_clone_that_waited_over_an_interruption_goes_on_from_its_donors_state(
    count: int, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune caches what it saves of a trial: here it has saved each trial as it paused, before it became a clone."""
    folder = tmp_path / "toy"
    monkeypatch.setitem(environment._ENVIRONMENT, "TUNE_GLOBAL_CHECKPOINT_S", "0")
    with half_of_the_cluster(), pytest.raises(RunInterrupted):
        compare(small(), tmp_path, listeners=[InterruptAfterClones(folder, count)])
    assert count <= len(clones(folder)) < len(clones(undisturbed))
    assert len(compare(small(), tmp_path, resume=True).finished) == 9
    assert clones(folder) == clones(undisturbed)
    assert in_order(read_rows(folder / "rows.jsonl")) == in_order(read_rows(undisturbed / "rows.jsonl"))


def kill_at_the_gate(settings: Sequence[str], folder: Path) -> None:
    """SIGKILL of a driver after a clone of the second round, and not before Tune has saved a checkpoint of a trial.

    Trials of populations wait at the gate for their next round, so that the comparison cannot end before.
    """
    cluster = ray.get_runtime_context().gcs_address
    program = [sys.executable, "-m", "tests.tune.compare_main", cluster, str(folder.parent), *settings]
    driver = subprocess.Popen(program, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})

    def arrived() -> bool:
        assert driver.poll() is None
        saved = "".join(path.read_text() for path in folder.glob("tune/kept/experiment_state-*.json"))
        return CHECKPOINTED in saved and len(clones(folder)) > 2

    wait_until(arrived, "a clone of the second round")
    with pytest.raises(ResumeError, match=rf"in use by another driver \(process {driver.pid} on"):
        driver_lock(folder).__enter__()
    driver.kill()
    driver.wait()
    with driver_lock(folder):
        pass  # its trials, which may live on for a second, do not have the lock
    wait_until(lambda: ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"], "the end of its trials")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_driver_loses_nothing_and_doubles_nothing(undisturbed: Path, tmp_path: Path) -> None:
    """Rows, clones and evaluations are those of the undisturbed run."""
    folder, gate = tmp_path / "toy", tmp_path / "gate"
    settings = (*SMALL, f"policy.model={gate}")
    kill_at_the_gate(settings, folder)
    recorded = len(read_rows(folder / "rows.jsonl"))
    assert STEPS < recorded <= 6 * GATE + 2 * STEPS < 8 * STEPS

    gate.touch()
    listener = Listener()
    result = compare(load_config(overrides=settings), tmp_path, resume=True, listeners=[listener], trainable=GatedTrial)
    assert len(result.finished) == 9 and not result.failed
    assert listener.steps == 8 * STEPS
    assert clones(folder) == clones(undisturbed)
    assert in_order(read_rows(folder / "rows.jsonl")) == in_order(read_rows(undisturbed / "rows.jsonl"))
    ends = [{line["trial"]: line for line in records(run, "evaluations.jsonl")} for run in (folder, undisturbed)]
    assert ends[0] == ends[1]
    assert len(records(folder, "rows.jsonl")) < recorded + 8 * STEPS  # it went on from its checkpoints


@pytest.mark.ray
@pytest.mark.slow
def test_the_advice_for_a_damaged_checkpoint_of_a_trial_works(ray_cluster: None, tmp_path: Path) -> None:
    config = small("tune.trials_per_objective=1", "tune.references=false", "train.max_failures=0", ONE_AT_A_TIME)
    with pytest.raises(RunInterrupted):
        compare(config, tmp_path, listeners=[Listener(interrupt_after=STEPS - 2)])
    trial = tmp_path / "toy" / "tune" / "analytic-0"
    oldest, *newer = sorted(trial.glob("checkpoint_*"))
    for checkpoint in newer:
        (checkpoint / STATE).write_bytes((checkpoint / STATE).read_bytes()[:-1])
    result = compare(config, tmp_path, resume=True)
    assert result.finished == ("truncated_backprop-0",)
    advice = rf"(\S+)/{STATE} is damaged.*copy the files of an earlier checkpoint in {trial} into (\S+), and --resume"
    told = re.search(advice, result.failed["analytic-0"])
    assert told is not None, result.failed
    assert told[1] == told[2] and Path(told[1]) in newer
    for file in (STATE, PROGRESS):
        shutil.copy(oldest / file, Path(told[2]) / file)
    result = compare(config, tmp_path, resume=True)
    assert len(result.finished) == 2 and not result.failed
    rows = read_rows(tmp_path / "toy" / "rows.jsonl")
    assert len(rows) == 2 * STEPS
    own = [row for row in in_order(rows) if row["trial"] == "analytic-0"]
    for before, after in pairwise(own):
        assert after["beta"] - before["beta"] == pytest.approx(after["coverage"])


@pytest.mark.ray
def test_a_finished_run_is_not_run_again(undisturbed: Path) -> None:
    lines = len(records(undisturbed, "rows.jsonl"))
    result = compare(small(), undisturbed.parent, resume=True)
    assert len(result.finished) == 9
    assert len(records(undisturbed, "rows.jsonl")) == lines


@pytest.mark.ray
@pytest.mark.slow
def test_an_asynchronous_population_stays_in_its_strata(ray_cluster: None, tmp_path: Path) -> None:
    config = small("tune.synchronous=false", "tune.references=false")
    result = compare(config, tmp_path)
    assert len(result.finished) == 6
    lineage = records(result.folder, "lineage.jsonl")
    lines = records(result.folder, "rows.jsonl")
    assert lineage
    for record in lineage:
        assert record["recipient_objective"] == record["donor_objective"] == record["new_objective"]
    for recipient in {record["recipient"] for record in lineage}:
        received = [record for record in lineage if record["recipient"] == recipient]
        for segment, record in enumerate(received, start=1):
            own = [line for line in lines if (line["trial"], line["segment"]) == (recipient, segment)]
            if own:  # a clone may be cloned over before it has run
                before = own[0]["step"] - 1, record["donor"]
                sums = {line["beta"] for line in lines if (line["step"], line["trial"]) == before}
                assert any(own[0]["beta"] == pytest.approx(s + record["new"]["controller.target_kl"]) for s in sums)


@pytest.mark.ray
def test_a_sweep_trains_every_point_without_clones(ray_cluster: None, tmp_path: Path) -> None:
    config = small("train.steps=4", "tune.objectives=[analytic]", "tune.references=false", ONE_AT_A_TIME)
    keys = ["controller.target_kl"]
    result = run_sweep(config, name="toy", results=tmp_path, keys=keys, points=3, trainable=ToyTrial)
    evaluations = records(result.folder, "evaluations.jsonl")
    assert sorted(e["settings"]["controller.target_kl"] for e in evaluations) == pytest.approx(
        [0.1, (0.1 * 0.4) ** 0.5, 0.4]
    )
    assert records(result.folder, "lineage.jsonl") == []
    assert len(read_rows(result.folder / "rows.jsonl")) == 3 * 4


@pytest.mark.ray
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_what_a_full_disk_cost_is_trained_again(ray_cluster: None, tmp_path: Path) -> None:
    config = small("train.steps=4", "tune.references=false", "tune.trials_per_objective=1", ONE_AT_A_TIME)

    class Full(Listener):
        def advance(self, steps: int) -> None:
            rows = tmp_path / "toy" / "rows.jsonl"
            if not rows.is_symlink():
                rows.rename(rows.with_suffix(".kept"))
                rows.symlink_to("/dev/full")

    with pytest.raises(RecordingError, match="No space left"):
        compare(config, tmp_path, listeners=[Full()])
    rows = tmp_path / "toy" / "rows.jsonl"
    rows.unlink()
    rows.with_suffix(".kept").rename(rows)
    assert len(compare(config, tmp_path, resume=True).finished) == 2
    assert len(read_rows(rows)) == 2 * 4


@pytest.mark.ray
@pytest.mark.slow
def test_a_trial_that_broke_goes_on_from_its_checkpoint(ray_cluster: None, tmp_path: Path) -> None:
    settings = ("tune.objectives=[analytic]", "tune.references=false", f"policy.model={tmp_path / 'broken'}")
    config = small(*settings, ONE_AT_A_TIME)
    result = compare(config, tmp_path, trainable=FragileTrial)
    assert (tmp_path / "broken").exists()
    assert len(result.finished) == 3 and not result.failed
    assert len(read_rows(result.folder / "rows.jsonl")) == len(records(result.folder, "rows.jsonl")) == 3 * STEPS
    assert [record["step"] for record in records(result.folder, "lineage.jsonl")] == [4, 8]


@pytest.mark.ray
def test_when_every_trial_breaks_the_reason_is_told(ray_cluster: None, tmp_path: Path) -> None:
    config = small("tune.trials_per_objective=1", "tune.references=false", "train.max_failures=0", ONE_AT_A_TIME)
    with pytest.raises(MaxentRayError) as raised:
        compare(config, tmp_path, trainable=FragileTrial)
    said = str(raised.value)
    assert said.startswith("RuntimeError: the toy broke (analytic-0, as every trial failed; its trace is in ")
    trace = tmp_path / "toy" / "tune" / "analytic-0" / "error.txt"
    assert str(trace) in said and "the toy broke" in trace.read_text()
    assert said.endswith(f"--resume {tmp_path / 'toy'} continues from the last checkpoint")


@pytest.mark.ray
def test_a_trial_that_breaks_is_named_with_its_whole_reason_and_the_others_finish(
    ray_cluster: None, tmp_path: Path
) -> None:
    result = compare(small("tune.trials_per_objective=1", "train.max_failures=0"), tmp_path, trainable=OneBreaks)
    trace = tmp_path / "toy" / "tune" / "analytic-0" / "error.txt"
    assert result.failed == {"analytic-0": f"the toy is odd:\n  it is 3 (its trace is in {trace})"}
    assert "truncated_backprop-0" in result.finished


@pytest.mark.ray
def test_what_every_resume_meets_again_has_its_class_and_no_advice_to_resume(ray_cluster: None, tmp_path: Path) -> None:
    config = small(
        "tune.trials_per_objective=1", "tune.references=false", "train.max_failures=0", "tune.objectives=[analytic]"
    )
    with pytest.raises(ConfigError) as raised:
        compare(config, tmp_path, trainable=OneBreaks)
    assert str(raised.value).startswith("the toy is odd:\n  it is 3 (analytic-0, as every trial failed;")
    assert "--resume" not in str(raised.value)


@pytest.mark.ray
def test_a_listener_that_fails_stops_no_trial(ray_cluster: None, tmp_path: Path) -> None:
    config = small("tune.trials_per_objective=1", "tune.references=false")
    assert len(compare(config, tmp_path, listeners=[Counting(broken=True)]).finished) == 2


@pytest.mark.ray
def test_what_cannot_work_is_said_before_anything_starts(ray_cluster: None, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"need 8 CPUs; the cluster has 4"):
        compare(small("train.num_workers=4"), tmp_path)
    with pytest.raises(ConfigError, match="newtonian"):
        compare(small("tune.objectives=[newtonian]"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ResumeError, match=r"cannot resume .*toy"):
        compare(small(), tmp_path, resume=True)
    (tmp_path / "toy").mkdir()
    with pytest.raises(ResumeError, match=r"exists and holds no run.*Remove it.*another --name"):
        compare(small(), tmp_path)
    (tmp_path / "toy" / "config.yaml").touch()
    with pytest.raises(ResumeError, match=r"exists.*--resume .*another --name"):
        compare(small(), tmp_path)


@pytest.mark.ray
def test_a_run_is_resumed_with_its_own_configuration_only(undisturbed: Path) -> None:
    with pytest.raises(ResumeError, match="another configuration"):
        compare(small("train.seed=9"), undisturbed.parent, resume=True)
