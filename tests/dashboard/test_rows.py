"""Rows as columns are those that the report has, however they were written and whenever they are read."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maxent_ray.dashboard import columns
from maxent_ray.dashboard.rows import Rows
from maxent_ray.dashboard.trial_rows import NAMES, ROW_FIELDS
from maxent_ray.report.points import read_points
from maxent_ray.storage.run_files import ROWS
from tests.report.results_folder import row


def history(seed: int, *, ranks: int = 1) -> list[dict[str, Any]]:
    """Rows of trials that are resumed, cloned back, and lose a rank now and then."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for trial in ("a-0", "a-1", "ü"):
        step = 0
        for _ in range(rng.randint(20, 60)):
            for rank in range(ranks):
                if rng.random() < 0.97:
                    values = {
                        name: rng.choice([rng.random(), None]) for name in ("tau", "kl", "loss", "failed_unrolls")
                    }
                    rows.append(row(trial, f"objective-{step % 3}", step, rank=rank, **values))
            step = rng.randint(0, step) if rng.random() < 0.1 else step + 1
    return rows


def assert_same(rows: Rows, records: list[dict[str, Any]]) -> None:
    points = read_points(records)
    assert rows.trials.keys() == points.keys()
    for trial, own in points.items():
        found = rows.trials[trial]
        assert found.steps.tolist() == [point.step for point in own]
        assert found.last_step == own[-1].step
        for name in NAMES:
            expected = [math.nan if point[name] is None else point[name] for point in own]
            np.testing.assert_allclose(found.series(name), expected, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_read_while_they_are_written_they_are_those_of_the_report(tmp_path: Path, seed: int, ranks: int) -> None:
    records, file, rows = history(seed, ranks=ranks), tmp_path / ROWS, Rows(tmp_path)
    text = "".join(json.dumps(record) + "\n" for record in records)
    cuts = sorted(random.Random(seed).sample(range(len(text)), 12))
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):  # also in the middle of a line
        with file.open("a") as out:
            out.write(text[begin:end])
        rows.read_new()
    assert rows.count == len(records) and rows.torn == 0
    assert_same(rows, records)


@pytest.mark.parametrize("small", [0, 2**30], ids=["by pyarrow", "tolerantly"])
def test_both_readers_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    monkeypatch.setattr(columns, "_SMALL", small)
    records = history(11, ranks=2)
    (tmp_path / ROWS).write_text("".join(json.dumps(record) + "\n" for record in records))
    rows = Rows(tmp_path)
    rows.read_new()
    assert_same(rows, records)


BAD = [
    b'{"trial": "a", "objective": "o", "step": 3, "ra',
    b"[1, 2]",
    b"null",
    b"not JSON at all",
    b"\xff\xfe",
    b'{"trial": 3, "objective": "o", "step": 3, "rank": 0}',
    b'{"trial": "a", "objective": "o", "step": 3.5, "rank": 0}',
    b'{"trial": "a", "objective": "o", "step": 99999999999999999999999, "rank": 0}',
    b'{"trial": "a", "objective": "o"}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
@pytest.mark.parametrize("small", [0, 2**30], ids=["by pyarrow", "tolerantly"])
def test_a_line_that_belongs_nowhere_is_skipped_and_counted(
    bad: bytes, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_SMALL", small)
    good = json.dumps(row("a", "o", 0)).encode()
    found = columns.read_columns(b"\n".join([good, bad, b"", good]) + b"\n", ROW_FIELDS)
    assert found.numbers.shape[1] == 2 and found.torn == 1
    assert found.line.tolist() == [0, 3]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", '"text"', "true", "[1]", "1" + 400 * "0"])
@pytest.mark.parametrize("small", [0, 2**30], ids=["by pyarrow", "tolerantly"])
def test_a_value_that_is_no_finite_number_is_unknown(value: str, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_SMALL", small)
    line = f'{{"trial": "a", "objective": "o", "step": 3, "rank": 0, "kl": {value}, "tau": 0.5}}\n'.encode()
    numbers = dict(
        zip([*ROW_FIELDS.integers, *ROW_FIELDS.numbers], columns.read_columns(line, ROW_FIELDS).numbers, strict=True)
    )
    assert np.isnan(numbers["kl"][0]) and numbers["tau"][0] == 0.5


def test_of_a_large_file_a_sample_is_read_first_and_its_end_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maxent_ray.dashboard.rows.SAMPLED_BYTES", 96 * 2**10)
    records = [row("a", "o", step, tau=float(step)) for step in range(2000)]
    (tmp_path / ROWS).write_text("".join(json.dumps(record) + "\n" for record in records))
    rows = Rows(tmp_path)
    rows.sample()
    found = rows.trials["a"]
    assert rows.sampled and 50 < len(found.steps) < 1000
    assert found.last_step == 2000 and found.steps[0] == 1
    np.testing.assert_array_equal(found.series("tau"), found.steps - 1)
    with (tmp_path / ROWS).open("a") as out:
        out.write(json.dumps(row("a", "o", 2000)) + "\n")
    assert rows.read_new() and rows.trials["a"].last_step == 2001
