"""Followers of a run: one that fails neither stops the run nor keeps the others from their rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from maxent_ray.storage.row_listener import Listeners


class Counting:
    """Counts the steps that it hears of; a broken one raises after each."""

    def __init__(self, broken: bool = False) -> None:
        self.steps = 0
        self.states: list[str] = []
        self._broken = broken

    def update(self, trial: str, objective: str, row: Mapping[str, Any], clones: int) -> None:
        self._break()

    def state(self, trial: str, state: str) -> None:
        self.states.append(state)
        self._break()

    def advance(self, steps: int) -> None:
        self.steps += steps
        self._break()

    def _break(self) -> None:
        if self._broken:
            raise ValueError("no such column")


def test_one_that_fails_is_told_of_once_and_keeps_nobody_from_the_rows(caplog: pytest.LogCaptureFixture) -> None:
    broken, whole = Counting(broken=True), Counting()
    listeners = Listeners([broken, whole])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            listeners.update("analytic-0", "analytic", {"step": 0}, 0)
            listeners.advance(2)
        listeners.state("analytic-0", "done")
    assert [record.message for record in caplog.records] == [
        "Counting cannot follow the run; training continues (ValueError: no such column)"
    ]
    assert broken.steps == whole.steps == 6
    assert broken.states == whole.states == ["done"]
