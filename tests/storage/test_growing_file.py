from __future__ import annotations

import os
from pathlib import Path

import pytest

from maxent_ray.storage.growing_file import GrowingFile


def read(file: GrowingFile, block_bytes: int = 2**20) -> list[bytes]:
    return [line for block in file.new_blocks(block_bytes) for line in block.data.splitlines()]


def test_only_what_was_added_is_read_and_a_partial_line_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    file = GrowingFile(path)
    assert read(file) == [] and not file.has_changed()
    path.write_text("first\nsecond\nthi")
    assert file.has_changed()
    assert read(file) == [b"first", b"second"] and file.has_partial_line and not file.has_changed()
    assert read(file) == []
    with path.open("a") as out:
        out.write("rd\n")
    assert read(file) == [b"third"] and not file.has_partial_line and not file.was_replaced()


@pytest.mark.parametrize("how", ["cut off", "replaced", "removed"])
def test_a_file_that_is_another_is_noticed(how: str, tmp_path: Path) -> None:
    path, other = tmp_path / "rows.jsonl", tmp_path / "other"
    path.write_text("first\nsecond\n")
    file = GrowingFile(path)
    assert not file.was_replaced()
    read(file)
    assert not file.was_replaced()
    if how == "cut off":
        path.write_text("another\n")
    elif how == "removed":
        path.unlink()
    else:
        other.write_text("another\nand\none more\n")
        other.replace(path)
    assert file.was_replaced()


def test_a_long_file_comes_in_parts_and_a_long_line_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [b"first", b"second", b"x" * 100, b"last"]
    path.write_bytes(b"\n".join(lines) + b"\n")
    blocks = list(GrowingFile(path).new_blocks(20))
    assert [block.data for block in blocks] == [b"first\nsecond\n", b"x" * 100 + b"\nlast\n"]
    assert [block.offset for block in blocks] == [0, 13]


def test_parts_that_were_not_asked_for_stay_new(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("first\nsecond\n")
    file = GrowingFile(path)
    assert next(file.new_blocks(8)).data == b"first\n"
    assert read(file) == [b"second"]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_regular_file_counts_as_missing(kind: str, tmp_path: Path) -> None:
    path, other = tmp_path / "rows.jsonl", tmp_path / "other"
    other.write_text("elsewhere\n")
    {"link": lambda: path.symlink_to(other), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    assert read(GrowingFile(path)) == []
