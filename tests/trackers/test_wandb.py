"""Runs offline, where W&B is installed: it is an extra of its own."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

wandb = pytest.importorskip("wandb")

from maxent_ray.trackers.wandb_tracker import WandbTracker  # noqa: E402
from tests.trackers.growing import two_sessions  # noqa: E402

BLOCK = 32768


def blocks(path: Path) -> Iterator[bytes]:
    """Records of a file in W&B's format, that of LevelDB's log: parts with a checksum, a length and a kind."""
    data, place, record = path.read_bytes(), 7, b""  # W&B's own header has 7 bytes
    while place + 7 <= len(data):
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
        if kind in (1, 4):  # the whole, or its last part
            yield record
            record = b""


def history(path: Path) -> list[dict[str, Any]]:
    from wandb.proto.wandb_internal_pb2 import Record

    records = [Record.FromString(block) for block in blocks(path)]
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]


def test_each_trial_has_a_run_that_a_resumed_job_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))  # no key of this machine's user
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "demo"
    folder.mkdir()
    assert "offline, as there is no key" in WandbTracker(folder).describe()
    two_sessions(folder, WandbTracker)

    progress = json.loads((folder / "trackers" / "wandb.json").read_text())
    ids = {trial: each["run_id"] for trial, each in progress["trials"].items()}
    files = sorted((folder / "wandb").glob(f"offline-run-*/run-{ids['a']}.wandb"))
    logged = [line for file in files for line in history(file)]
    losses = [(line["step"], line["train/loss"]) for line in logged if "train/loss" in line]
    assert dict(losses) == {1: 1.0, 2: 1.0, 3: 2.0, 4: 2.0, 5: 2.0, 6: 2.0}
    assert [line["held_out/pass@8"] for line in logged if "held_out/pass@8" in line] == [1.0]
    assert any("cloned from b" in str(line.get("trial/clone")) for line in logged)
    assert len(list((folder / "wandb").glob(f"offline-run-*/run-{ids['b']}.wandb"))) == 1
