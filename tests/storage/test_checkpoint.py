"""Checkpoints that really are damaged, of another version, or without room: refused by name, the old one whole."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from maxent_ray.errors import RecordingError, ResumeError
from maxent_ray.storage import checkpoint
from maxent_ray.storage.atomic import write_atomic
from maxent_ray.storage.checkpoint import Content, decode, encode, load_json, read_block, save_json_atomic

TENSORS = {
    "weights": torch.tensor([[math.pi, -0.0, 5e-324], [1e308, math.inf, math.nan]], dtype=torch.float64),
    "half": torch.arange(5, dtype=torch.bfloat16),
    "step": torch.tensor(7.0),
    "turned": torch.arange(6, dtype=torch.int64).reshape(2, 3).T,
    "none": torch.zeros(0),
}
STATE = {"tau": math.pi, "beta": 5e-324, "nested": [1e308, 0.1 + 0.2, None], "text": 'τ "sha256":"' + "0" * 64}


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """A disk that is full after so many bytes; Python ignores the signal that comes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.dim() else tensor[None].numpy().tobytes()


def test_every_bit_of_tensors_and_numbers_survives() -> None:
    tensors, state, schema = decode(encode(TENSORS, STATE), "block")
    assert (state, schema) == (STATE, checkpoint.SCHEMA)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert (tensors[name].dtype, tensors[name].shape) == (tensor.dtype, tensor.shape)
        assert bits(tensors[name]) == bits(tensor)


def test_a_block_is_a_safetensors_file_that_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "block.safetensors").write_bytes(encode(TENSORS, STATE))
    with safetensors.safe_open(tmp_path / "block.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["schema"]) == ("maxent_ray.checkpoint", str(checkpoint.SCHEMA))
    assert json.loads(metadata["state"]) == STATE


def test_what_is_not_finite_in_the_state_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        encode({}, {"tau": math.nan})


def test_a_single_flipped_bit_is_found_wherever_it_is(tmp_path: Path) -> None:
    """Every bit of a small block and of a JSON file: length, names, shapes, numbers, checksum, data."""
    save_json_atomic(tmp_path / "state.json", {"steps": 3, "tau": 1e-05})
    block = encode({"w": torch.ones(2)}, {"step": 3, "tau": 0.1})
    readers: list[tuple[bytes, Callable[[Path], Any]]] = [
        (block, read_block),
        ((tmp_path / "state.json").read_bytes(), load_json),
    ]
    damaged = tmp_path / "damaged"
    for content, read in readers:
        for position in range(len(content) * 8):
            flipped = bytearray(content)
            flipped[position // 8] ^= 1 << position % 8
            damaged.write_bytes(flipped)
            with pytest.raises(ResumeError, match=r"damaged.*replace it by an intact copy"):
                read(damaged)


@pytest.mark.parametrize("read", [read_block, load_json])
def test_a_truncated_an_empty_and_a_missing_file_are_refused_by_path(read: Callable[..., Any], tmp_path: Path) -> None:
    save_json_atomic(tmp_path / "whole.json", STATE)
    whole = encode(TENSORS, STATE) if read is read_block else (tmp_path / "whole.json").read_bytes()
    path = tmp_path / "state"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        expected = "is empty" if length == 0 else "damaged"
        with pytest.raises(ResumeError, match=rf"{path} .*{expected}.*: do this") as refused:
            read(path, "do this")
        assert isinstance(refused.value, ResumeError)
    path.unlink()
    with pytest.raises(ResumeError, match=rf"{path} is missing: do this"):
        read(path, "do this")
    path.mkdir()
    with pytest.raises(ResumeError, match=rf"{path} cannot be read \(Is a directory\): do this"):
        read(path, "do this")


@pytest.mark.parametrize("read", [read_block, load_json])
def test_files_of_other_programs_are_refused(read: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "state"
    foreign = (b"\xff\xfe", b'{"tau": 0.1}', safetensors.torch.save({"w": torch.ones(2)}), os.urandom(1000))
    for content in foreign:
        path.write_bytes(content)
        with pytest.raises(ResumeError, match=rf"{path} holds no checkpoint of maxent_ray"):
            read(path)


def test_a_newer_schema_asks_for_a_newer_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written whole by a version to come; the advice is another than for a damaged file."""
    with monkeypatch.context() as later:
        later.setattr(checkpoint, "SCHEMA", 7)
        save_json_atomic(tmp_path / "state.json", STATE)
        write_atomic(tmp_path / "state", encode(TENSORS, STATE))
    for path, read in ((tmp_path / "state.json", load_json), (tmp_path / "state", read_block)):
        with pytest.raises(ResumeError) as refused:
            read(path)
        told = f"{path} was written by a newer maxent_ray (schema 7, this one reads up to 6): update the package"
        assert str(refused.value) == told


@pytest.mark.parametrize(("name", "value"), [("FORMAT", "other"), ("SCHEMA", 0)])
def test_a_sealed_file_of_another_format_is_refused(
    name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as other:
        other.setattr(checkpoint, name, value)
        save_json_atomic(tmp_path / "state.json", STATE)
    with pytest.raises(ResumeError, match="holds no checkpoint of maxent_ray"):
        load_json(tmp_path / "state.json")


def test_json_numbers_keep_every_bit(tmp_path: Path) -> None:
    save_json_atomic(tmp_path / "state.json", STATE)
    assert load_json(tmp_path / "state.json") == STATE
    assert json.loads((tmp_path / "state.json").read_text())["schema"] == checkpoint.SCHEMA
    with pytest.raises(ValueError, match="schema"):
        save_json_atomic(tmp_path / "state.json", {"schema": 9})


def test_what_json_cannot_hold_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    save_json_atomic(path, {"tau": 0.5})
    with pytest.raises(ValueError, match="Out of range"):
        save_json_atomic(path, {"tau": math.nan})
    assert load_json(path) == {"tau": 0.5}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_checkpoint_whole_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_atomic(path, encode({"w": torch.zeros(4)}, {"step": 1}))
    with (
        no_file_longer_than(1000),
        pytest.raises(RecordingError, match=rf"cannot write {path}: File too large\. .*old file is intact; fix the"),
    ):
        write_atomic(path, encode({"w": torch.zeros(400)}, {"step": 2}))
    assert decode(read_block(path), path).state == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


WRITER = """
import sys, torch
from pathlib import Path
from maxent_ray.storage.atomic import write_atomic
from maxent_ray.storage.checkpoint import encode
blocks = [encode({"w": torch.full((200_000,), float(step))}, {"step": step}) for step in range(8)]
step = 0
while True:
    write_atomic(sys.argv[1], blocks[step % 8])
    print(step, flush=True)
    step += 1
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "state"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    for _ in range(20):
        written = int(writer.stdout.readline())
    writer.kill()
    written = max([written, *map(int, writer.stdout.read().split())])
    writer.wait()
    content: Content = decode(read_block(path), path)
    assert content.state["step"] in (written % 8, (written + 1) % 8)
    assert set(content.tensors["w"].tolist()) == {float(content.state["step"])}
