from __future__ import annotations

from pathlib import Path

import pytest

from maxent_ray.trackers import new_records
from maxent_ray.trackers.new_records import RecordReader
from tests.trackers.growing import evaluate, grow, rows


def steps(reader: RecordReader, *, last: bool = False) -> list[tuple[str, int, int]]:
    """Trial, step and rank of what is new, which then counts as read."""
    new = reader.read(last=last)
    reader.accept(new)
    return [(row["trial"], row["step"], row["rank"]) for row in new.rows]


def test_a_step_waits_for_its_ranks(tmp_path: Path) -> None:
    reader = RecordReader(tmp_path, {})
    first, second = rows("a", [0]), rows("a", [1])
    grow(tmp_path, first + second[:1])
    assert steps(reader) == [("a", 0, 0), ("a", 0, 1)]
    grow(tmp_path, second[1:])
    assert steps(reader) == []
    assert steps(reader) == [("a", 1, 0), ("a", 1, 1)]  # nothing came since


def test_the_end_and_an_evaluation_release_the_newest_step(tmp_path: Path) -> None:
    grow(tmp_path, rows("a", [0]))
    assert len(steps(RecordReader(tmp_path, {}), last=True)) == 2
    evaluate(tmp_path, "a")
    assert len(steps(RecordReader(tmp_path, {}))) == 2


def test_what_was_not_accepted_is_read_again_and_what_was_is_not(tmp_path: Path) -> None:
    grow(tmp_path, rows("a", range(3)))
    reader = RecordReader(tmp_path, {})
    assert len(reader.read(last=True).rows) == len(reader.read(last=True).rows) == 6
    reader.accept(reader.read(last=True))
    again = RecordReader(tmp_path, reader.offsets)
    grow(tmp_path, rows("b", range(1)))
    assert steps(again, last=True) == [("b", 0, 0), ("b", 0, 1)]


def test_half_a_line_waits_and_odd_lines_are_skipped(tmp_path: Path) -> None:
    grow(tmp_path, rows("a", [0]))
    reader = RecordReader(tmp_path, {})
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('no JSON\n7\n{"trial": "a"}\n{"trial": "a", "step": null, "rank": 0, "objective": "x"}\n{"tri')
    assert steps(reader, last=True) == [("a", 0, 0), ("a", 0, 1)]
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('al": "a", "step": 1, "rank": 0, "objective": "x"}\n')
    assert steps(reader, last=True) == [("a", 1, 0)]


def test_a_folder_that_does_not_exist_has_nothing_new(tmp_path: Path) -> None:
    reader = RecordReader(tmp_path / "later", {})
    assert reader.read(last=True).offsets == reader.offsets


def test_a_long_file_is_read_in_parts_and_its_evaluations_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_records, "MOST_BYTES", 2000)
    grow(tmp_path, rows("a", range(40)))
    evaluate(tmp_path, "a")
    reader, found, parts = RecordReader(tmp_path, {}), [], []
    while not parts or parts[-1].more:
        parts.append(reader.read(last=True))
        reader.accept(parts[-1])
        found += [(row["step"], row["rank"]) for row in parts[-1].rows]
    assert found == [(step, rank) for step in range(40) for rank in range(2)]
    assert len(parts) > 5 and [len(part.evaluations) for part in parts] == [0] * (len(parts) - 1) + [1]
