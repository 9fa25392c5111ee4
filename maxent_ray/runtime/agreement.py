"""Ranks compare what they are about to train with, so that an outage which only some of them met cannot part them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from maxent_ray.runtime.process_group import check_group, cpu_group
from maxent_ray.runtime.protocol import Answer

POLL_S, REMIND_S = 0.0002, 1.0


@dataclass(frozen=True)
class Proposal:
    """What one rank would train with."""

    answer: Answer
    alone: bool
    """The rank decided it without the controller."""


class RankAgreement:
    """One small all-gather a step; where ranks differ, all take one rank's answer.

    The controller's answer comes before any that a rank decided alone, a newer version before an older one, a lower
    rank before a higher one: every rank sees the same table and picks the same row.

    Args:
        rank: This process's rank.
        world_size: Ranks of the run.

    Raises:
        ConfigError: torch.distributed is not running, or with another rank or world size.
    """

    def __init__(self, rank: int, world_size: int) -> None:
        check_group(rank, world_size, "agree_over_ranks")
        self._world_size = world_size
        self._group = cpu_group()

    def settle(self, own: Proposal, while_waiting: Callable[[], None]) -> Answer:
        """The answer that all ranks train with: ``own.answer`` itself where this rank has it already.

        Args:
            own: What this rank would train with.
            while_waiting: Called about once a second while other ranks have not come yet: they may be waiting for
                something of this rank that was lost on its way.
        """
        known = own.answer.coefficients
        row = torch.tensor([known.tau, known.beta, float(known.version), float(own.alone)], dtype=torch.float64)
        table = [torch.empty_like(row) for _ in range(self._world_size)]
        gathering = dist.all_gather(table, row, group=self._group, async_op=True)
        asked = time.monotonic()
        while not gathering.is_completed():
            time.sleep(POLL_S)
            if time.monotonic() - asked > REMIND_S:
                while_waiting()
                asked = time.monotonic()
        gathering.wait()
        if all(torch.equal(entry, row) for entry in table):
            return own.answer
        taken = min(range(self._world_size), key=lambda rank: (float(table[rank][3]), -float(table[rank][2]), rank))
        box = [own.answer]
        dist.broadcast_object_list(box, src=taken, group=self._group)
        return own.answer if torch.equal(table[taken], row) else box[0]
