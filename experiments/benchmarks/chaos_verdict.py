"""What a soak comes to: every round decided once and on every rank's measurements, or not."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from chaos_rank import CONFIG, RankLog, measured

from maxent_ray.core.controller import Controller
from maxent_ray.core.statistics import merge_all


@dataclass(frozen=True)
class Verdict:
    """The figures that matter."""

    rounds: int
    lost_updates: int
    """Rounds that nobody knows a decision of, or that were decided on other measurements than all ranks'."""
    disagreements: int
    """Steps that some ranks trained with other coefficients than others."""
    departures: int
    """Steps that were trained with other coefficients than without any fault, to the last bit."""

    @property
    def holds(self) -> bool:
        """Nothing was lost."""
        return not (self.lost_updates or self.disagreements or self.departures)


def judge(logs: Sequence[RankLog], rounds: int, lag: int) -> Verdict:
    """Hold what the ranks saw against a bare loop over ``Controller.step``."""
    controller = Controller(CONFIG)
    states, wanted = [controller.init()], []
    for step in range(rounds):
        trained = states[max(step - lag, 0)]
        merged = merge_all(measured(rank, step, trained.tau, trained.beta) for rank in range(len(logs)))
        state, decision = controller.step(states[-1], merged)
        states.append(state)
        wanted.append(decision)
    known = {decision["version"]: decision for log in logs for decision in log.decisions}
    truth = [(state.tau, state.beta, state.version) for state in (states[max(s - lag, 0)] for s in range(rounds))]
    done = min(len(log.coefficients) for log in logs)
    return Verdict(
        rounds=done,
        lost_updates=sum(not _is_same(known.get(decision.version), decision.to_dict()) for decision in wanted),
        disagreements=sum(len({log.coefficients[step] for log in logs}) > 1 for step in range(done)),
        departures=sum(any(log.coefficients[step] != truth[step] for log in logs) for step in range(done)),
    )


def kill_costs(kills: Sequence[float], finished: Sequence[float]) -> list[float]:
    """Seconds that each kill cost: how much longer than usual the steps around it took.

    Args:
        kills: When something was killed, in order.
        finished: When each step was done, of one rank.

    Example:
        >>> kill_costs([2.5], [0.0, 1.0, 2.0, 5.0, 6.0])
        [2.0]
    """
    gaps = [after - before for before, after in pairwise(finished)]
    usual = statistics.median(gaps)
    costs = []
    for number, kill in enumerate(kills):
        until = kills[number + 1] if number + 1 < len(kills) else float("inf")
        # a step may finish with an answer that had arrived before the kill: the one after it then pays
        hit = [gap for gap, end in zip(gaps, finished[1:], strict=False) if kill <= end < until][:3]
        costs.append(max(0.0, max(hit, default=usual) - usual))
    return costs


def _is_same(found: dict[str, Any] | None, wanted: dict[str, Any]) -> bool:
    """Decided on the same measurements: what they moved is judged step by step."""
    return found is not None and all(found[name] == wanted[name] for name in ("step", "entropy", "kl", "reason"))
