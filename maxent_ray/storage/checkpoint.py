"""Checkpoints: blocks of tensors and JSON with a schema version and a checksum.

A checkpoint is one block in the safetensors format. The metadata in its header hold ``format``, ``schema``, ``state``
(JSON) and ``sha256``, the checksum of the whole block with zeros in place of the checksum; they are the same in every
schema. JSON files have the same seal. Nothing is pickled, so reading a checkpoint runs no code from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from torch import Tensor

from maxent_ray.errors import ResumeError
from maxent_ray.storage.atomic import write_atomic

FORMAT, SCHEMA = "maxent_ray.checkpoint", 6
ADVICE = "replace it by an intact copy, or start a new run"
"""Default advice for a file that cannot be read."""
_UNSEALED = "0" * 64
_SEAL = re.compile(rb'"sha256": ?"([0-9a-f]{64})"')
_LENGTH = 8
"""Bytes at the start of a block that hold the length of its header."""


class Content(NamedTuple):
    """Content of a block."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]
    schema: int
    """Schema that it was written in, at most today's."""


def encode(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> bytes:
    """Encode tensors and a JSON state as one block with a checksum; every number keeps every bit.

    Args:
        tensors: Dense ones, on any device; none shares memory with another.
        state: Anything JSON can hold; NaN and infinities are refused.

    Raises:
        ValueError: ``state`` holds a number that is not finite.

    Example:
        >>> import torch
        >>> block = encode({"weight": torch.ones(2)}, {"step": 3})
        >>> decode(block, "block")
        Content(tensors={'weight': tensor([1., 1.])}, state={'step': 3}, schema=6)
    """
    metadata = {
        "format": FORMAT,
        "schema": str(SCHEMA),
        "state": json.dumps(state, allow_nan=False),
        "sha256": _UNSEALED,
    }
    return _seal(safetensors.torch.save({name: each.contiguous() for name, each in tensors.items()}, metadata))


def decode(block: bytes, where: str | os.PathLike[str], advice: str = ADVICE) -> Content:
    """Decode a block, on the CPU.

    Args:
        block: From :func:`encode`.
        where: Names the block in errors, as by its path.
        advice: Ends errors about a block that cannot be read.

    Raises:
        ResumeError: as :func:`check_block`.
    """
    metadata = _checked_metadata(block, where, advice)
    return Content(safetensors.torch.load(block), json.loads(metadata["state"]), int(metadata["schema"]))


def check_block(block: bytes, where: str | os.PathLike[str], advice: str = ADVICE) -> dict[str, Any]:
    """Check that a block is intact and ours, without reading its tensors; returns its state.

    Raises:
        ResumeError: it is empty, truncated, altered by a single bit, of another format, or of a newer schema.
    """
    state: dict[str, Any] = json.loads(_checked_metadata(block, where, advice)["state"])
    return state


def read_block(path: str | os.PathLike[str], advice: str = ADVICE) -> bytes:
    """Read a block from a file and check all of it.

    Raises:
        ResumeError: as :func:`check_block`, or the file is missing.
    """
    block = _read(path, advice)
    check_block(block, path, advice)
    return block


def save_json_atomic(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write a JSON object with schema and checksum, atomically; numbers keep every bit.

    Args:
        path: The file; its folder exists.
        values: Anything JSON can hold; NaN and infinities are refused.

    Raises:
        ValueError: ``values`` holds a number that is not finite, or a key of the seal.
        RecordingError: the file cannot be written; the old one is intact.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_json_atomic(f"{folder}/controller.json", {"tau": 0.1})
        ...     load_json(f"{folder}/controller.json")
        {'tau': 0.1}
    """
    seal = {"format": FORMAT, "schema": SCHEMA, "sha256": _UNSEALED}
    if seal.keys() & values.keys():
        raise ValueError(f"values have keys {sorted(values)}; {', '.join(seal)} are taken by the seal")
    write_atomic(path, _seal(json.dumps({**seal, **values}, allow_nan=False).encode()))


def load_json(path: str | os.PathLike[str], advice: str = ADVICE) -> dict[str, Any]:
    """Read a file of :func:`save_json_atomic`, without schema and checksum.

    Raises:
        ResumeError: the file is missing, damaged, of another format, or of a newer schema.
    """
    content = _read(path, advice)
    _check_seal(content, len(content), path, advice)
    values: dict[str, Any] = json.loads(content)
    _check_schema(values, path, advice)
    return {name: value for name, value in values.items() if name not in ("format", "schema", "sha256")}


def _checked_metadata(block: bytes, where: str | os.PathLike[str], advice: str) -> dict[str, str]:
    end = _LENGTH + int.from_bytes(block[:_LENGTH], "little")
    if not _LENGTH < end <= len(block):
        raise ResumeError(f"{where} {_described(block)}: {advice}")
    _check_seal(block, end, where, advice)
    metadata: dict[str, str] = json.loads(block[_LENGTH:end]).get("__metadata__", {})
    _check_schema(metadata, where, advice)
    return metadata


def _read(path: str | os.PathLike[str], advice: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ResumeError(f"{path} is missing: {advice}") from None
    except OSError as error:
        raise ResumeError(f"{path} cannot be read ({error.strerror}): {advice}") from None


def _seal(content: bytes) -> bytes:
    """Content with its checksum in the placeholder."""
    place = _SEAL.search(content)
    if place is None:
        raise ValueError("the content has no placeholder for a checksum")
    return b"".join((content[: place.start(1)], hashlib.sha256(content).hexdigest().encode(), content[place.end(1) :]))


def _check_seal(content: bytes, end: int, where: str | os.PathLike[str], advice: str) -> None:
    """Compare the content with its checksum, which is before ``end``."""
    found = _SEAL.search(content, 0, end)
    if found is None:
        raise ResumeError(f"{where} {_described(content)}: {advice}")
    checksum = hashlib.sha256(memoryview(content)[: found.start(1)])
    checksum.update(_UNSEALED.encode())
    checksum.update(memoryview(content)[found.end(1) :])
    if checksum.hexdigest().encode() != found[1]:
        raise ResumeError(f"{where} is damaged, its checksum does not fit its content: {advice}")


def _described(content: bytes) -> str:
    if not content:
        return "is empty"
    return "is damaged" if FORMAT.encode() in content else "holds no checkpoint of maxent_ray, or a damaged one"


def _check_schema(values: Mapping[str, Any], where: str | os.PathLike[str], advice: str) -> None:
    """Refuse other formats and newer schemas."""
    name, schema = values.get("format"), values.get("schema")
    if name != FORMAT or not (str(schema).isdecimal() and int(str(schema)) >= 1):
        raise ResumeError(f"{where} holds no checkpoint of maxent_ray (format {name!r}, schema {schema!r}): {advice}")
    if int(str(schema)) > SCHEMA:
        raise ResumeError(
            f"{where} was written by a newer maxent_ray (schema {schema}, this one reads up to {SCHEMA}): update the "
            "package"
        )
