"""Judge a soak: every step of every rank, in all its lives, against a bare loop over ``Controller.step``."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from chaos_rank import CONFIG, Step, measured

from maxent_ray.core.controller import Controller
from maxent_ray.core.statistics import merge_all


@dataclass(frozen=True)
class Verdict:
    """The figures that matter."""

    rounds: int
    """Steps that all ranks did."""
    lost_updates: int
    """Rounds that nobody knows a decision of, or that were decided otherwise."""
    disagreements: int
    """Steps that some ranks trained with other coefficients than others."""
    departures: int
    """Steps that were trained with other coefficients than without any fault, to the last bit."""

    @property
    def holds(self) -> bool:
        """Nothing was lost."""
        return not (self.lost_updates or self.disagreements or self.departures)


def judge(
    seen: Sequence[Sequence[Step]], decisions: Sequence[Mapping[str, Any]], rounds: int, lag: int
) -> Verdict:
    """Hold what the ranks saw against the bare loop.

    Args:
        seen: Of each rank, every step that it did, those that it did again included.
        decisions: Rank 0's, likewise.
        rounds: How many there were to be.
        lag: Of the clients.
    """
    controller = Controller(CONFIG)
    states, wanted = [controller.init()], {}
    for step in range(rounds):
        trained = states[max(step - lag, 0)]
        merged = merge_all(measured(rank, step, trained.tau, trained.beta) for rank in range(len(seen)))
        state, decision = controller.step(states[-1], merged)
        states.append(state)
        wanted[decision.version] = {**decision.to_dict(), "events": list(decision.events)}
    truth = [(state.tau, state.beta, state.version) for state in (states[max(s - lag, 0)] for s in range(rounds))]
    found: dict[int, list[Mapping[str, Any]]] = {}
    for each in decisions:
        found.setdefault(each["version"], []).append({name: each[name] for name in each if name != "alarms"})
    used: list[set[tuple[float, float, int]]] = [set() for _ in range(rounds)]
    for each in (step for steps in seen for step in steps):
        used[each.step].add((each.tau, each.beta, each.version))
    done = [len({each.step for each in steps}) for steps in seen]
    return Verdict(
        rounds=min(done),
        lost_updates=sum(
            version not in found or any(each != wanted[version] for each in found[version]) for version in wanted
        ),
        disagreements=sum(len(values) > 1 for values in used),
        departures=sum(values - {truth[step]} != set() for step, values in enumerate(used)),
    )


def kill_costs(kills: Sequence[float], others: Sequence[float], finished: Sequence[float]) -> list[float]:
    """Seconds that each kill cost: how much longer than usual the steps around it took.

    Args:
        kills: When the controller was killed, in order.
        others: When something else was done; steps that this falls into say nothing of a kill.
        finished: When each step was done, of one rank.

    Example:
        >>> kill_costs([2.5], [5.5], [0.0, 1.0, 2.0, 5.0, 9.0, 10.0])
        [2.0]
    """
    gaps = [gap for gap in pairwise(finished) if not any(gap[0] <= other < gap[1] for other in others)]
    usual = statistics.median(end - start for start, end in gaps)
    costs = []
    for number, kill in enumerate(kills):
        until = kills[number + 1] if number + 1 < len(kills) else float("inf")
        # a step may finish with an answer that had arrived before the kill: the one after it then pays
        hit = [end - start for start, end in gaps if kill <= end < until][:3]
        costs.append(max(0.0, max(hit, default=usual) - usual))
    return costs


def longest_step(rank_kills: Sequence[float], finished: Sequence[float]) -> float:
    """The longest that a step took, but for those in which a rank was killed and all began anew.

    Example:
        >>> longest_step([2.5], [0.0, 1.0, 2.0, 9.0, 12.0])
        3.0
    """
    gaps = [gap for gap in pairwise(finished) if not any(gap[0] <= kill < gap[1] for kill in rank_kills)]
    return max(end - start for start, end in gaps)
