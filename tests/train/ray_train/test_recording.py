"""The driver's view of a growing file of rows: whatever is in it, and whoever listens, training continues."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from maxent_ray.storage.row_listener import Listeners
from maxent_ray.train.ray_train.recording import Follower
from tests.storage.test_row_listener import Counting


def row(step: int) -> str:
    return json.dumps({"step": step, "rank": 0, "trial": "mine", "objective": "analytic"}) + "\n"


def test_a_listener_that_fails_stops_nothing(tmp_path: Path) -> None:
    rows, broken, whole = tmp_path / "rows.jsonl", Counting(broken=True), Counting()
    with Follower(rows, Listeners([broken, whole])):
        rows.write_text(row(0) + row(1))
    assert broken.steps == whole.steps == 2


def test_rows_that_are_written_anew_are_followed(tmp_path: Path) -> None:
    rows, listener = tmp_path / "rows.jsonl", Counting()
    follower = Follower(rows, listener)
    rows.write_text(row(0) + row(1))
    follower.poll()
    rows.write_text(row(2))
    follower.poll()
    assert listener.steps == 3


@pytest.mark.parametrize("odd", ["not JSON\n", "7\n", '{"step": 1}\n', '{"step": null, "trial": "mine"}\n'])
def test_an_odd_line_is_told_of_once_and_later_rows_are_passed_on(
    odd: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, listener = tmp_path / "rows.jsonl", Counting()
    follower = Follower(rows, listener)
    with caplog.at_level(logging.WARNING):
        for text in (odd, odd, row(0) + row(1)):
            with rows.open("a") as file:
                file.write(text)
            follower.poll()
    assert listener.steps == 2
    assert len(caplog.records) == 1
    assert caplog.records[0].message.startswith(f"{rows} cannot be followed; training continues (")
