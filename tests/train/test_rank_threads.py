"""Threads of a rank in this process: as many as asked for, else as many as there are, and no more than cores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from maxent_ray.train.rank import RankProcess, RankSpec
from tests.train.tiny import tiny_config


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("asked", "here", "found"), [(None, 1, 1), (None, 2, 2), (1, 2, 1), (2, 1, 2), (64, 1, 3)])
def test_threads(asked: int | None, here: int, found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maxent_ray.train.rank.usable_cores", lambda: 3)
    torch.set_num_threads(here)
    process = RankProcess()
    process.setup(tiny_config(), RankSpec("threads", 0, 1, use_gpu=False, local=True, threads=asked))
    process.close()
    assert torch.get_num_threads() == found
