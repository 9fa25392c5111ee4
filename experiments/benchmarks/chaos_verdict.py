"""Verdict on a soak: every step of every rank, over all restarts, against a bare loop over ``Controller.step``."""

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
    """Counts of lost and wrong rounds."""

    rounds: int
    """Steps completed by all ranks."""
    lost_updates: int
    """Rounds without a recorded decision, or with a wrong one."""
    disagreements: int
    """Steps that ranks trained with different coefficients."""
    departures: int
    """Steps whose coefficients differ, in any bit, from those of a run without faults."""

    @property
    def holds(self) -> bool:
        """True when nothing was lost or wrong."""
        return not (self.lost_updates or self.disagreements or self.departures)


def judge(
    seen: Sequence[Sequence[Step]], decisions: Sequence[Mapping[str, Any]], rounds: int, lag: int
) -> Verdict:
    """Compare the ranks' steps and decisions with the bare loop.

    Args:
        seen: Steps of each rank, repeated ones included.
        decisions: Rank 0's, repeated ones included.
        rounds: Planned number of rounds.
        lag: Lag of the clients.
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
    """Seconds that each kill cost: excess of the longest step after it over the median step.

    Args:
        kills: Times at which the controller was killed, in order.
        others: Times of other faults; steps with one of these are left out.
        finished: End of each step, of one rank.

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
    """Seconds of the longest step, without those in which a rank was killed and all ranks restarted.

    Example:
        >>> longest_step([2.5], [0.0, 1.0, 2.0, 9.0, 12.0])
        3.0
    """
    gaps = [gap for gap in pairwise(finished) if not any(gap[0] <= kill < gap[1] for kill in rank_kills)]
    return max(end - start for start, end in gaps)
