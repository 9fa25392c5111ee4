"""A rank of the soak: reports synthetic measurements, sometimes twice, and records its coefficients."""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules import PI
from maxent_ray.errors import RankLostError
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.connect import connect
from maxent_ray.runtime.options import ClientOptions

SMOOTHED = PI(ema_decay=0.3)
CONFIG = ControllerConfig(
    group_size=8, target_entropy=1.5, target_kl=0.05, tau=2.0, beta=0.02, tau_rule=SMOOTHED, beta_rule=SMOOTHED
)
DOUBLED = 0.2
"""Share of the reports that are sent twice."""


def measured(rank: int, step: int, tau: float, beta: float) -> BatchStatistics:
    """Statistics of a synthetic policy at τ and β: noisy, different on every rank and step, and reproducible.

    H rises with τ towards log G and KL falls with β, so a wrong τ or β would change all later statistics.
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


class Step(NamedTuple):
    """Coefficients of one step of a rank, and its time (seconds of the machine's clock)."""

    step: int
    tau: float
    beta: float
    version: int
    time: float


class ChaosRank:
    """A rank in an actor with several threads, so that it responds while it trains; its steps are in files."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._steps = folder / f"steps-{rank}.jsonl"
        self._decisions = folder / "decisions.jsonl"
        self._rank = rank
        self._progress = 0

    def process(self) -> int:
        """Process id."""
        return os.getpid()

    def progress(self) -> int:
        """Number of steps begun."""
        return self._progress

    def state_dict(self) -> dict[str, Any]:
        """State of the client, at any time."""
        return self._client.state_dict()

    def join(self, run_id: str, world_size: int, options: ClientOptions, state: Mapping[str, Any] | None) -> str:
        """Connect to a new attempt, and resume from a state; returns the run's name."""
        self._client: ControllerClient = connect(run_id, self._rank, world_size, CONFIG, options=options)
        if state is not None:
            self._client.load_state_dict(state)
        return self._client.run_id

    def run(self, start: int, stop: int, pace: float) -> dict[str, Any]:
        """Run steps as a trainer would: get coefficients, train (for ``pace`` seconds), report.

        Returns:
            Counters, and the message of the error if a rank was lost.
        """
        draw, doubled, version, lost = random.Random(self._rank), 0, 0, ""
        with self._steps.open("a") as steps, self._decisions.open("a") as decisions:
            try:
                for step in range(start, stop):
                    self._progress = step
                    known = self._client.coefficients(step)
                    record = Step(step, known.tau, known.beta, known.version, time.monotonic())
                    print(json.dumps(record), file=steps, flush=True)
                    time.sleep(pace)
                    found = measured(self._rank, step, known.tau, known.beta)
                    for _ in range(1 + (draw.random() < DOUBLED)):
                        self._client.report(step, found)
                        doubled += 1
                    doubled -= 1
                    version = self._write(decisions, version)
                self._client.wait_for_decision()
                self._write(decisions, version)
            except RankLostError as error:
                lost = str(error)
        return {**self._client.counters(), "doubled": doubled, "lost": lost}

    def _write(self, file: Any, version: int) -> int:
        if self._rank != 0:
            return version
        new = self._client.decisions(version)
        for decision in new:
            print(json.dumps(decision), file=file, flush=True)
        return max([version, *(decision["version"] for decision in new)])


def read_steps(folder: Path, rank: int) -> list[Step]:
    """Read a rank's steps, over all its restarts; the last line may be truncated by a kill."""
    return [Step(*line) for line in _lines(folder / f"steps-{rank}.jsonl")]


def read_decisions(folder: Path) -> list[dict[str, Any]]:
    """Read rank 0's decisions, over all its restarts."""
    return list(_lines(folder / "decisions.jsonl"))


def _lines(path: Path) -> Iterator[Any]:
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


