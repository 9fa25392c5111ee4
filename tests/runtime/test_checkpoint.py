from __future__ import annotations

import math
from pathlib import Path

import pytest

from maxent_ray.errors import ResumeError
from maxent_ray.runtime.checkpoint import load_json, save_json_atomic


def test_numbers_keep_every_bit(tmp_path: Path) -> None:
    values = {"tau": math.pi, "beta": 5e-324, "nested": [1e308, 0.1 + 0.2]}
    save_json_atomic(tmp_path / "state.json", values)
    assert load_json(tmp_path / "state.json") == values


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    save_json_atomic(path, {"tau": 0.5})
    with pytest.raises(ValueError, match="Out of range"):
        save_json_atomic(path, {"tau": math.nan})
    assert load_json(path) == {"tau": 0.5}
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match=r"state\.json: no such file"):
        load_json(tmp_path / "state.json")
    for content in (b'{"tau": 0.', b"\xff\xfe"):
        (tmp_path / "state.json").write_bytes(content)
        with pytest.raises(ResumeError, match=r"state\.json: not readable as JSON"):
            load_json(tmp_path / "state.json")
