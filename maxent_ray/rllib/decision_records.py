"""Decisions of an algorithm's controllers, as records of ``decisions.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ray.rllib.algorithms.algorithm import Algorithm

from maxent_ray.rllib.algorithm_record import config_of
from maxent_ray.rllib.learner import ControlledLearner

Found = Mapping[str, Sequence[Mapping[str, Any]]]
"""Module id → its controller's decisions, oldest first."""


class Decided(NamedTuple):
    """One decision."""

    step: int
    """Training iterations before the one whose update it follows."""
    decision: Mapping[str, Any]


class _Newest(NamedTuple):
    """The newest decision of a module that was read."""

    version: int
    update: int


class NewDecisions:
    """Decisions of an algorithm's controllers since the last look.

    Args:
        algorithm: In training; it may return to an earlier iteration.
    """

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm
        self._newest: dict[int, dict[str, _Newest]] = {}  # iteration → module id

    def read(self, step: int) -> dict[str, list[Decided]]:
        """List new decisions by module; none where no learner has a controller.

        The decision on an iteration's last update is made with the next iteration.

        Args:
            step: Iterations before the one that has ended.
        """
        before = self._newest.get(step - 1, {})
        found = self._read({module: each.version for module, each in before.items()})
        newest = {module: _Newest(own[-1]["version"], own[-1]["step"]) for module, own in found.items() if own}
        self._newest[step] = {**before, **newest}
        return {module: _placed(own, before.get(module), step) for module, own in found.items() if own}

    def start_at(self, step: int) -> None:
        """Leave out all decisions that were made before an iteration, as by another trial."""
        self.read(step - 1)

    def _read(self, since: Mapping[str, int]) -> Found:
        group = self._algorithm.learner_group
        if group is None or not issubclass(config_of(self._algorithm).learner_class, ControlledLearner):
            return {}
        answers = [each.get() for each in group.foreach_learner(partial(_decisions, since=since))]
        found: Found = answers[0] if answers else {}  # learner 0's have the alarms
        return found


def _placed(own: Sequence[Mapping[str, Any]], before: _Newest | None, step: int) -> list[Decided]:
    """Decisions with their iterations: the first one follows the last update of the iteration before, if there is."""
    last_update = before.update + 1 if before is not None else own[0]["step"] if step else -1
    return [Decided(step - (each["step"] <= last_update), each) for each in own]


def _decisions(learner: Any, since: Mapping[str, int]) -> Found:
    found: Found = learner.maxent_decisions(since)
    return found


def decision_records(
    decisions: Mapping[str, Sequence[Decided]], *, names: Mapping[str, str], segment: int
) -> list[dict[str, Any]]:
    """Make the records of decisions, of iterations with one update (PPO) or many (SAC).

    Of many updates the newest decision is recorded, and every one with an alarm; ``update`` counts updates.

    Args:
        decisions: Module id → its new decisions.
        names: Module id → its name in the records.
        segment: Clones that the trial has received.

    Example:
        >>> made = [Decided(3, {"step": step, "version": step + 1, "alarms": []}) for step in (7, 8)]
        >>> decision_records({"p": made}, names={"p": "mine"}, segment=0)
        [{'step': 3, 'version': 9, 'alarms': [], 'update': 8, 'trial': 'mine', 'segment': 0}]
    """
    return [
        {
            **each.decision,
            "step": each.step,
            "update": each.decision["step"],
            "trial": names[module],
            "segment": segment,
        }
        for module, own in decisions.items()
        for each in own
        if each is own[-1] or each.decision["alarms"]
    ]
