from __future__ import annotations

from pathlib import Path

import pytest

from maxent_ray.storage import tail as module
from maxent_ray.storage.tail import Tail


def test_only_what_was_added_is_read_and_a_partial_line_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    path.write_text('{"step": 0}\n{"step": 1}\n{"st')
    assert [record["step"] for record in tail.read()] == [0, 1]
    assert tail.read() == []
    with path.open("a") as file:
        file.write('ep": 2}\n')
    assert tail.read() == [{"step": 2}] and tail.torn == 0


def test_lines_that_are_no_object_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"step": 0}\nnot json\n[1]\n\n\xff\xfe\n{"kl": NaN}\n')
    tail = Tail(path)
    assert len(tail.read()) == 2 and tail.torn == 3


@pytest.mark.parametrize("how", ["cut off", "replaced"])
def test_a_file_that_is_another_is_read_from_its_beginning(how: str, tmp_path: Path) -> None:
    path, other = tmp_path / "rows.jsonl", tmp_path / "other"
    path.write_text('{"step": 0}\n{"step": 1}\n')
    tail = Tail(path)
    tail.read()
    if how == "cut off":
        path.write_text('{"step": 7}\n')
    else:
        other.write_text('{"step": 7}\n{"step": 8}\n{"step": 9}\n')
        other.replace(path)
    assert tail.read()[0] == {"step": 7} and tail.restarts == 1


def test_a_long_file_comes_in_parts_and_a_long_line_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 40)
    path = tmp_path / "rows.jsonl"
    long = "x" * 100
    path.write_text(f'{{"step": 0}}\n{{"step": 1}}\n{{"text": "{long}"}}\n{{"step": 3}}\n')
    tail, read = Tail(path), []
    while part := tail.read():
        read += part
    assert read == [{"step": 0}, {"step": 1}, {"text": long}, {"step": 3}]
