"""Columns of a block of JSON lines: pyarrow's reader in parallel, and a tolerant one where it refuses a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as arrow_json
from numpy.typing import NDArray

from maxent_ray.report.numbers import number

Floats = NDArray[np.float64]
_SMALL = 64 * 2**10
"""Bytes up to which the tolerant reader is as fast."""
_PARSED_BYTES = 256 * 2**10
"""Bytes that pyarrow reads at a time, so that it stays in the processor's cache."""


@dataclass(frozen=True)
class Fields:
    """Fields that are read from the lines of a file; others are skipped."""

    texts: tuple[str, ...]
    """Required texts: a line without one belongs nowhere."""
    integers: tuple[str, ...] = ()
    """Required whole numbers."""
    numbers: tuple[str, ...] = ()
    """Optional numbers; NaN where a line has none."""

    def schema(self) -> pa.Schema:
        """The same for pyarrow."""
        kinds = [(self.texts, pa.string()), (self.integers, pa.int64()), (self.numbers, pa.float64())]
        return pa.schema([(name, kind) for names, kind in kinds for name in names])


@dataclass(frozen=True)
class Columns:
    """Lines of one block, those that belong nowhere left out."""

    texts: dict[str, tuple[NDArray[np.int64], list[str]]]
    """Field → code of each line, and the text of each code."""
    numbers: Floats
    """[fields, lines]: the integers, then the numbers."""
    line: NDArray[np.int64]
    """Number of each line within the block, blank lines included."""
    torn: int
    """Lines that belong nowhere."""


def read_columns(data: bytes, fields: Fields) -> Columns:
    r"""Read complete lines.

    Args:
        data: Ends with a newline.
        fields: What to read.

    Example:
        >>> fields = Fields(("trial",), ("step",), ("kl",))
        >>> found = read_columns(b'{"trial": "a", "step": 3, "kl": NaN}\n{"trial": "a"}\n', fields)
        >>> found.texts["trial"], found.numbers.tolist(), found.torn
        ((array([0]), ['a']), [[3.0], [nan]], 1)
    """
    if len(data) > _SMALL:
        try:
            return _read_fast(data, fields)
        except (pa.ArrowException, ValueError, OverflowError):
            pass  # a NaN, a partial line, a field of another type: the tolerant reader knows what to make of it
    return _read_tolerant(data, fields)


def _read_fast(data: bytes, fields: Fields) -> Columns:
    table = arrow_json.read_json(
        pa.BufferReader(data),
        read_options=arrow_json.ReadOptions(use_threads=False, block_size=_PARSED_BYTES),
        parse_options=arrow_json.ParseOptions(explicit_schema=fields.schema(), unexpected_field_behavior="ignore"),
    )
    if table.num_rows != data.count(b"\n"):
        raise ValueError("blank lines")
    required = [*fields.texts, *fields.integers]
    whole = np.ones(table.num_rows, dtype=bool)
    for name in required:
        if table[name].null_count:
            whole &= table[name].is_valid().to_numpy()
    line = np.flatnonzero(whole)
    if len(line) < table.num_rows:
        table = table.filter(pa.array(whole))
    texts = {}
    for name in fields.texts:
        encoded = table[name].combine_chunks().dictionary_encode()
        texts[name] = (encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist())
    names = [*fields.integers, *fields.numbers]
    numbers = np.empty((len(names), table.num_rows))
    for place, name in enumerate(names):
        numbers[place] = table[name].to_numpy()
    numbers[~np.isfinite(numbers)] = np.nan
    return Columns(texts, numbers, line, torn=len(whole) - len(line))


def _read_tolerant(data: bytes, fields: Fields) -> Columns:
    records: list[dict[str, Any]] = []
    line: list[int] = []
    torn = 0
    for place, text in enumerate(data.split(b"\n")[:-1]):
        if not text.strip():
            continue
        record = _record(text)
        if _belongs(record, fields):
            records.append(record)
            line.append(place)
        else:
            torn += 1
    texts = {name: _encode([record[name] for record in records]) for name in fields.texts}
    rows = [
        *([float(record[name]) for record in records] for name in fields.integers),
        *([_known(record.get(name)) for record in records] for name in fields.numbers),
    ]
    numbers = np.array(rows, dtype=np.float64).reshape(len(rows), len(records))
    return Columns(texts, numbers, np.array(line, dtype=np.int64), torn)


def _record(text: bytes) -> dict[str, Any]:
    try:
        record = json.loads(text.decode(errors="replace"))
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _belongs(record: dict[str, Any], fields: Fields) -> bool:
    return all(isinstance(record.get(name), str) for name in fields.texts) and all(
        isinstance(record.get(name), int) and abs(record[name]) < 2**53 for name in fields.integers
    )


def _known(value: object) -> float:
    known = number(value) if not isinstance(value, int) or abs(value) < 2**1000 else None
    return np.nan if known is None else known


def _encode(texts: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    codes = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    return np.array([codes[text] for text in texts], dtype=np.int64), list(codes)
