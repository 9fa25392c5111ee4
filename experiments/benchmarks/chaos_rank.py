"""A rank of the soak: it reports made-up measurements over a line that delays, doubles and reorders them."""

from __future__ import annotations

import math
import random
import time
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.connecting import NAMESPACE
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.protocol import Answer, Report, StateLoad
from maxent_ray.runtime.ray_transport import RayTransport
from maxent_ray.runtime.transport import Transport

CONFIG = ControllerConfig(group_size=8, target_entropy=1.5, target_kl=0.05, tau=2.0, beta=0.02, ema_decay=0.3)


@dataclass(frozen=True)
class Weather:
    """How bad the line is: shares of the reports that meet each fault."""

    delayed: float = 0.2
    longest_delay_s: float = 0.03
    """With lag 1 the next report is sent meanwhile, and overtakes."""
    doubled: float = 0.2
    repeated: float = 0.1
    """An old report, of up to 20 steps ago, is sent once more."""


def measured(rank: int, step: int, tau: float, beta: float) -> BatchStatistics:
    """What a made-up policy answers to τ and β: noisy, different on every rank and step, and the same when repeated.

    H rises with τ towards log G and KL falls with β; whatever a fault did to τ or β would show in all that follows.
    """
    draw = random.Random(10_000 * step + rank)
    groups, tokens = draw.randint(2, 6), draw.randint(50, 90)
    return BatchStatistics(
        groups=groups,
        completions=8 * groups,
        tokens=tokens,
        weight_entropy_sum=groups * draw.uniform(0.95, 1.0) * math.log(8) * tau / (tau + 0.2),
        policy_kl_sum=tokens * draw.uniform(0.8, 1.2) * 0.1 / (1 + beta / 0.2),
    )


class UnreliableTransport:
    """A transport over which reports come late, twice, again after many steps, and in another order."""

    def __init__(self, inner: Transport, weather: Weather, seed: int) -> None:
        self.faults: Counter[str] = Counter()
        self._inner = inner
        self._weather = weather
        self._random = random.Random(seed)
        self._sent: deque[Report] = deque(maxlen=20)
        self._threads = ThreadPoolExecutor(max_workers=4)
        self._latest = -1

    def generation(self) -> int:
        """As the line behind says."""
        return self._inner.generation()

    def prepare(self, report: Report) -> Report:
        """Nothing to reduce."""
        return report

    def submit(self, report: Report) -> Any:
        """Send, as the weather wants it."""
        if self._sent and self._random.random() < self._weather.repeated:
            self.faults["repeated"] += 1
            self._inner.submit(self._random.choice(self._sent))  # nobody waits for this answer
        self._sent.append(report)
        if self._random.random() < self._weather.delayed:
            self.faults["delayed"] += 1
            return self._threads.submit(self._later, report, self._random.uniform(0, self._weather.longest_delay_s))
        return self._send(report)

    def result(self, handle: Any, timeout_s: float) -> Answer:
        """Wait for the answer of a report, once it has been sent."""
        return self._inner.result(handle.result() if isinstance(handle, Future) else handle, timeout_s)

    def load_state(self, load: StateLoad, timeout_s: float) -> int:
        """Loads are not meddled with."""
        return self._inner.load_state(load, timeout_s)

    def counters(self, timeout_s: float) -> dict[str, Any]:
        """The service's counters."""
        return self._inner.counters(timeout_s)

    def close(self) -> None:
        """Let go of the controller."""
        self._threads.shutdown()
        self._inner.close()

    def _later(self, report: Report, seconds: float) -> Any:
        time.sleep(seconds)
        return self._send(report)

    def _send(self, report: Report) -> Any:
        self.faults["overtaken"] += report.step < self._latest
        self._latest = max(self._latest, report.step)
        handle = self._inner.submit(report)
        if self._random.random() < self._weather.doubled:
            self.faults["doubled"] += 1
            return self._inner.submit(report)
        return handle


@dataclass(frozen=True)
class RankLog:
    """What a rank saw."""

    coefficients: list[tuple[float, float, int]]
    """τ, β and version of every step."""
    finished: list[float]
    """When each step had its coefficients (seconds of the machine's clock)."""
    decisions: list[dict[str, Any]]
    counters: dict[str, int]
    faults: dict[str, int]


class ChaosRank:
    """Hosted in an actor with two threads, so that it can be asked how far it is."""

    def __init__(self, run_id: str, rank: int, world_size: int, options: ClientOptions, weather: Weather) -> None:
        inner = RayTransport(run_id, CONFIG, world_size, NAMESPACE, options.rounds, options.timeout_s)
        self._line = UnreliableTransport(inner, weather, seed=rank)
        self._client = ControllerClient(run_id, rank, CONFIG, self._line, options)
        self._step = 0

    def progress(self) -> int:
        """Steps begun."""
        return self._step

    def run(self, steps: int) -> RankLog:
        """Do all steps as a trainer would: ask, train (which takes no time here), report."""
        seen, finished, decisions = [], [], []
        for step in range(steps):
            self._step = step
            known = self._client.coefficients(step)
            finished.append(time.monotonic())
            seen.append((known.tau, known.beta, known.version))
            self._client.report(step, measured(self._client.rank, step, known.tau, known.beta))
            if step % 100 == 0:
                decisions += self._client.decisions(decisions[-1]["version"] if decisions else 0)
        self._client.state_dict()  # the last answers
        decisions += self._client.decisions(decisions[-1]["version"] if decisions else 0)
        counters = self._client.counters()
        self._client.close()
        return RankLog(seen, finished, decisions, counters, dict(self._line.faults))
