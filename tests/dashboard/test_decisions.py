"""Decisions: counted as the report counts them, found by trial, reason and text."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from maxent_ray.dashboard.decisions import Decisions, Filter
from maxent_ray.report.run_records import read_run
from maxent_ray.storage.run_files import DECISIONS
from tests.report.results_folder import write_lines, write_results

ALARM = {"kind": "saturated", "coefficient": "tau", "message": "τ has been at its upper bound"}


def decision(trial: str, version: int, **values: Any) -> dict[str, Any]:
    made = {"trial": trial, "segment": 0, "version": version, "step": version, "reason": "updated", "alarms": []}
    return {**made, **values}


def read(folder: Path, *records: dict[str, Any]) -> Decisions:
    write_lines(folder / DECISIONS, records)
    decisions = Decisions(folder)
    decisions.read_new()
    return decisions


@pytest.mark.parametrize("seed", range(4))
def test_reasons_and_alarms_are_those_of_the_report(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    records, version = [], {"a": 0, "b": 0}
    for _ in range(200):
        trial = rng.choice("ab")
        version[trial] = rng.randint(0, version[trial]) if rng.random() < 0.05 else version[trial] + 1
        alarms = [ALARM] if rng.random() < 0.1 else []
        reason = rng.choice(["updated", "clipped", "dead_band"])
        records.append(decision(trial, version[trial], reason=reason, alarms=alarms))
    write_results(tmp_path)
    decisions = read(tmp_path, *records)
    expected = read_run(tmp_path)
    assert decisions.reasons() == expected.reasons
    found = decisions.alarms()
    assert {trial: sorted(each.step for each in own) for trial, own in found.items()} == {
        trial: sorted(each.step for each in own) for trial, own in expected.warnings.items()
    }
    assert found["a"][0].message == ALARM["message"]


def test_a_page_is_found_by_trial_reason_and_text(tmp_path: Path) -> None:
    records = [
        decision(trial, step, reason="clipped" if step % 3 else "updated") for step in range(9) for trial in "ab"
    ]
    records.append(decision("b", 9, events=["Grenze für τ"], alarms=[ALARM]))
    decisions = read(tmp_path, *records)
    total, page = decisions.select(Filter(trial="a", reason="clipped", limit=2))
    assert total == 6 and [each["step"] for each in page] == [2, 3]
    total, page = decisions.select(Filter(trial="a", reason="clipped", limit=2, offset=1, newest=True))
    assert [each["step"] for each in page] == [8, 6]
    total, page = decisions.select(Filter(text="GRENZE für"))
    assert total == 1 and page[0]["events"] == ["Grenze für τ"] and page[0]["alarms"] == [ALARM]
    assert decisions.select(Filter(reason="unheard of")) == (0, [])
    assert Decisions(tmp_path / "nowhere").select(Filter(text="x")) == (0, [])


def test_lines_that_are_none_are_counted_and_alarms_of_others_kept_apart(tmp_path: Path) -> None:
    text = (
        json.dumps(decision("a", 1))
        + '\n{"trial": "a"\n\n[]\n'
        + json.dumps(decision("a", 2, alarms=["x", ALARM]))
        + "\n"
    )
    (tmp_path / DECISIONS).write_text(text)
    decisions = Decisions(tmp_path)
    decisions.read_new()
    assert decisions.torn == 2 and decisions.count == 2
    assert [each.message for each in decisions.alarms().get("a", ())] in ([], [ALARM["message"]])
