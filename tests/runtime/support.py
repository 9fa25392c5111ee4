"""Measured data, the trajectory that a bare loop over ``Controller.step`` gives, and ranks as threads and processes."""

from __future__ import annotations

import math
import os
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.objectives import ControllerGradients, Sensitivity, TruncatedBackprop
from maxent_ray.core.state import Coefficients, ControllerState
from maxent_ray.core.statistics import BatchStatistics, merge
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.deciders import LocalDecider
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.reduction import Report
from tests.core.rules import rules

ANALYTIC = ControllerConfig(group_size=8, target_entropy=1.5, target_kl=0.05, **rules("adam", ema_decay=0.5))  # type: ignore[arg-type]
TRUNCATED = ControllerConfig(
    group_size=8, objective=TruncatedBackprop(), target_entropy=1.5, target_kl=0.05, update_interval=2
)


def measured(rank: int, step: int) -> BatchStatistics:
    """Statistics of one rank's batch: any numbers that differ between ranks and steps and repeat."""
    draw = random.Random(1000 * step + rank)
    groups, tokens = draw.randint(2, 6), draw.randint(50, 90)
    return BatchStatistics(
        groups=groups,
        completions=8 * groups,
        tokens=tokens,
        reward_sum=draw.random() * groups,
        weight_entropy_sum=groups * draw.uniform(0.5, 1.0) * math.log(8),
        policy_kl_sum=tokens * draw.uniform(0.0, 0.2),
        weight_kl_sum=groups * draw.uniform(0.0, 0.2),
        policy_entropy_sum=tokens * draw.uniform(0.5, 1.5),
        informative_groups=groups - 1,
        informative_weight_entropy_sum=(groups - 1) * draw.uniform(0.5, 1.0) * math.log(8),
        solved_groups=groups - 2,
        mode_entropy_sum=(groups - 2) * draw.uniform(0.0, 1.0),
    )


def unrolled(rank: int, step: int) -> ControllerGradients:
    """Sensitivities of one rank's unroll."""
    draw = random.Random(7000 * step + rank)
    return ControllerGradients(
        source="truncated_backprop",
        sensitivity=Sensitivity(
            entropy=draw.uniform(1.2, 1.8),
            kl=draw.uniform(0.0, 0.1),
            entropy_tau=draw.uniform(0.1, 1.0),
            entropy_beta=draw.uniform(-0.1, 0.1),
            kl_tau=draw.uniform(-0.1, 0.1),
            kl_beta=draw.uniform(-1.0, -0.1),
            steps=1,
            tokens=draw.randint(10, 90),
            tau=0.3,
            beta=0.1,
            version=step,
            share=0.1,
        ),
    )


def hand_loop(config: ControllerConfig, ranks: int, steps: int) -> list[ControllerState]:
    """States before the first round and after each: the oracle, without any of the runtime's code."""
    controller = Controller(config)
    states = [controller.init()]
    for step in range(steps):
        total = BatchStatistics()
        for rank in range(ranks):
            total = merge(total, measured(rank, step))
        states.append(controller.step(states[-1], total)[0])
    return states


def expected(ranks: int, steps: int, lag: int, config: ControllerConfig = ANALYTIC) -> list[Coefficients]:
    """What every step trains with."""
    states = hand_loop(config, ranks, steps)
    return [states[max(step - lag, 0)].coefficients(step) for step in range(steps)]


def train(client: ControllerClient, steps: range) -> list[Coefficients]:
    """Take steps as a trainer would, which all take no time."""
    seen = []
    for step in steps:
        seen.append(client.coefficients(step))
        client.report(step, measured(client.rank, step))
    return seen


class ThreadRanks:
    """Ranks as threads of one process: what they share, and one rank's view of it."""

    def __init__(self, world_size: int) -> None:
        self.barrier = threading.Barrier(world_size, timeout=20)
        self.reports: list[Report] = [Report(0, 0, 0)] * world_size
        self.text = ""

    def of(self, rank: int) -> ThreadRank:
        return ThreadRank(self, rank)


class ThreadRank:
    def __init__(self, shared: ThreadRanks, rank: int) -> None:
        self._shared, self._rank = shared, rank

    def gather(self, report: Report) -> list[Report]:
        self._shared.reports[self._rank] = Report.from_text(report.to_text())
        self._shared.barrier.wait()
        reports = list(self._shared.reports)
        self._shared.barrier.wait()
        return reports

    def broadcast(self, text: str, step: int) -> str:
        if self._rank == 0:
            self._shared.text = text
        self._shared.barrier.wait()
        received = self._shared.text
        self._shared.barrier.wait()
        return received

    def close(self) -> None:
        pass


def thread_clients(
    world_size: int, config: ControllerConfig = ANALYTIC, lag: int = 1, decider: Any = None
) -> list[ControllerClient]:
    shared, options = ThreadRanks(world_size), ClientOptions(lag=lag)
    deciders = [decider or LocalDecider(), *[None] * (world_size - 1)]
    return [
        ControllerClient("run", rank, config, shared.of(rank), decider, options)
        for rank, decider in enumerate(deciders)
    ]


def on_all(clients: Sequence[ControllerClient], call: Callable[[ControllerClient], Any]) -> list[Any]:
    """The call on every rank at once; where one raises, its error in place of the value."""

    def caught(client: ControllerClient) -> Any:
        try:
            return call(client)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(caught, clients))


class Host:
    """A process for one rank, in which anything can be run; loads all libraries once, for one run after the other."""

    client: ControllerClient

    def pid(self) -> int:
        return os.getpid()

    def do(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """``call(self, …)``; an error comes back as a value, as itself."""
        try:
            return call(self, *arguments)
        except Exception as error:
            return error

    def state_dict(self) -> dict[str, Any]:
        """In another thread than ``do``."""
        return self.client.state_dict()


def new_host() -> Any:
    return ray.remote(Host).options(num_cpus=0, max_concurrency=2).remote()


def on_hosts(hosts: Sequence[Any], call: Callable[..., Any], *arguments: Any, timeout: float = 120) -> list[Any]:
    """``call(host, rank, world_size, …)`` on all hosts at once."""
    size = len(hosts)
    return ray.get([host.do.remote(call, rank, size, *arguments) for rank, host in enumerate(hosts)], timeout=timeout)
