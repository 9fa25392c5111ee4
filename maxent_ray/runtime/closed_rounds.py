"""Rounds that are closed: what each of them decided, for ranks that ask late or again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from maxent_ray.core.controller_state import Coefficients
from maxent_ray.runtime.decision_log import DecisionLog
from maxent_ray.runtime.protocol import Answer

HISTORY_ROUNDS = 16
"""Closed rounds whose whole answers are kept; of older ones the decision log knows the coefficients."""


class ClosedRounds:
    """Answers of the last rounds, and the decisions behind them.

    Example:
        >>> rounds = ClosedRounds()
        >>> rounds.close(Answer(Coefficients(0.3, 0.1, version=8, step=7), {}, {"version": 8, "step": 7}))
        >>> rounds.answer(7, told={}).coefficients.tau, rounds.answer(6, told={})
        (0.3, None)
    """

    def __init__(self) -> None:
        self.decisions = DecisionLog()
        self._answers: OrderedDict[int, Answer] = OrderedDict()
        self._without: dict[int, Sequence[int]] = {}

    def close(self, answer: Answer, without: Sequence[int] = ()) -> None:
        """Keep a round's answer.

        Args:
            answer: ``coefficients.step`` is the round's step; without a decision, another service decided it.
            without: Ranks whose reports it lacked.
        """
        step = answer.coefficients.step
        self._answers[step] = answer
        if without:
            self._without[step] = without
        if answer.decision is not None:
            self.decisions.append(answer.decision)
        while len(self._answers) > HISTORY_ROUNDS:
            forgotten, _ = self._answers.popitem(last=False)
            self._without.pop(forgotten, None)

    def remember(self, answered: Sequence[Coefficients], until: int) -> None:
        """Keep what rounds before the step ``until`` came to, as a rank tells it; what is known already stands."""
        for known in sorted(answered, key=lambda coefficients: coefficients.step):
            if known.step not in self._answers and known.step < until:
                self.close(Answer(known, {}, None))

    def answer(self, step: int, told: Mapping[str, Any]) -> Answer | None:
        """A round's answer, None where nothing remembers it.

        Args:
            step: The round's step.
            told: The newest state, as a dictionary: it goes with answers that came without one.
        """
        known = self._answers.get(step)
        if known is not None:
            return known if known.state else Answer(known.coefficients, told, None)
        logged = self.decisions.of_step(step)
        if logged is None:
            return None
        return Answer(Coefficients(logged["tau"], logged["beta"], logged["version"], step), told, None)

    def was_decided_with(self, rank: int, step: int) -> bool:
        """Whether a round was decided here, and on this rank's report among others."""
        known = self._answers.get(step)
        return known is not None and known.decision is not None and rank not in self._without.get(step, ())

    def forget_answers(self) -> None:
        """A state is loaded: rounds may be decided anew."""
        self._answers.clear()
        self._without.clear()

    def back_to(self, version: int) -> None:
        """Take back the decisions above a version."""
        self.decisions = DecisionLog(self.decisions.until(version))
