"""Reward functions in a process of their own: right values, and one sentence for everything that may go wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from maxent_ray.errors import TaskError
from maxent_ray.tasks.rewards import RewardBatch, Rewards
from maxent_ray.tasks.rewards.caller import RewardProcess

HERE = "tests.tasks.rewards.functions_for_tests"
BATCH = RewardBatch(["1+1=", "2+2="], ["2", "5!"], {"answer": [2, 4]}, ["1+1=", "2+2="])


def process_of(*names: str, limit_s: float = 30.0) -> RewardProcess:
    return RewardProcess([f"{HERE}:{name}" for name in names], limit_s)


def children() -> set[str]:
    """Processes that this one started."""
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before


def values(process: RewardProcess) -> list[list[float | None]]:
    try:
        return process.values(BATCH)
    finally:
        process.close()


def test_functions_are_called_as_in_trl() -> None:
    found = values(process_of("length", "right", "named_alone", "even_alone", "tensor", "below_zero"))
    assert found == [[1.0, 2.0], [1.0, 0.0], [2.0, 4.0], [None, 1.0], [0.5, 0.5], [-2.0, -2.0]]


def test_asynchronous_functions_run_together() -> None:
    assert values(process_of("waits", "length", "comes")) == [[1.0, 1.0], [1.0, 2.0], [10.0, 10.0]]


def test_one_process_serves_all_batches() -> None:
    process = process_of("length")
    process.values(BATCH)
    started = children()
    assert process.values(BATCH) == [[1.0, 2.0]]
    assert children() == started
    process.close()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no_number", r"returns 'good', for an answer to prompt '2\+2=' \(columns: answer=4\); it must return a"),
        ("not_finite", r"returns nan, for an answer to prompt '1\+1=' \(columns: answer=2\); it must return a finite"),
        ("infinite", r"returns inf, for an answer to prompt '1\+1='"),
        ("too_few", r"returns 1 values for 2 answers, for 2 answers, the first to prompt '1\+1=' \(columns: answer\)"),
        ("no_list", r"returns 1.0 instead of a list with a number or None for each answer"),
        ("raises", r"raises KeyError: 'level', for 2 answers, the first to prompt '1\+1=' \(columns: answer\)$"),
        ("times_out", r"raises TimeoutError: no reply, for 2 answers"),
        ("leaves", r"ends its process, for 2 answers, the first to prompt '1\+1='"),
    ],
)
def test_what_goes_wrong_is_one_sentence(name: str, sentence: str) -> None:
    process = process_of("length", name)
    with pytest.raises(TaskError, match=f"^reward '{HERE}:{name}' {sentence}"):
        process.values(BATCH)


@pytest.mark.parametrize("name", ["sleeps", "computes", "late"])
def test_a_reward_that_hangs_is_named_with_prompt_and_limit_and_ended(name: str) -> None:
    process = process_of("length", name, limit_s=0.5)
    hangs = rf"^reward '{HERE}:{name}' hangs: 0.5 s, task.kwargs.time_limit_s, are over for 2 answers, the first to "
    with pytest.raises(TaskError, match=rf"{hangs}prompt '1\+1='"):
        process.values(BATCH)


def test_another_batch_after_an_error_starts_anew() -> None:
    process = process_of("even_alone", "no_number")
    for _ in range(2):
        with pytest.raises(TaskError, match="returns 'good'"):
            process.values(BATCH)


def rewards(*names: str, weights: tuple[float, ...]) -> Rewards:
    return Rewards([f"{HERE}:{name}" for name in names], weights, limit_s=30.0, columns=BATCH.columns)


def test_rewards_are_weighted_and_none_is_left_out_as_in_trl() -> None:
    """TRL's ``nansum`` of weight × value: 0.5·1 and 0.5·2 + 3·1."""
    both = rewards("length", "even_alone", weights=(0.5, 3.0))
    assert both.of(BATCH) == [0.5, 4.0]
    both.close()


def test_none_of_all_rewards_names_prompt_and_columns() -> None:
    with pytest.raises(TaskError, match=r"returns None for an answer to prompt '1\+1=' \(columns: answer=2\)"):
        found = rewards("none", "even_alone", weights=(1.0, 1.0))
        try:
            found.of(BATCH)
        finally:
            found.close()


@pytest.mark.parametrize("name", ["length", "computes"])
def test_the_process_ends_with_its_rank(name: str) -> None:
    """Killed, so that the rank ends nothing itself; a reward that holds Python's lock cannot see it go."""
    code = (
        "import time; from tests.tasks.rewards.test_caller import BATCH, children, process_of\n"
        f"process = process_of({name!r}, limit_s=0.5); process._start()\n"
        "print(*children(), flush=True); process.values(BATCH); time.sleep(3600)"
    )
    rank = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert rank.stdout is not None
    rewards_of_rank = int(rank.stdout.readline())
    rank.kill()
    rank.wait()
    rank.stdout.close()
    while Path(f"/proc/{rewards_of_rank}").exists():  # or the test's own limit of time is over
        time.sleep(0.05)
