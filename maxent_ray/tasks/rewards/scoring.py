"""The reward of an answer: the weighted sum of what several functions return."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from maxent_ray.errors import TaskError
from maxent_ray.tasks.rewards.batch import RewardBatch
from maxent_ray.tasks.rewards.caller import RewardProcess
from maxent_ray.tasks.rewards.functions import check_arguments


class Rewards:
    """Reward functions with weights; None of one function leaves an answer to the others, as in TRL.

    Args:
        names: Of the functions: built in, or import paths.
        weights: One for each.
        limit_s: Longest time of one function for one batch (seconds).
        columns: Those of the data.

    Raises:
        ConfigError: a function cannot be imported, or needs a column that the data has not.
    """

    def __init__(
        self, names: Sequence[str], weights: Sequence[float], *, limit_s: float, columns: Collection[str]
    ) -> None:
        for name in names:
            check_arguments(name, columns)
        self._weights = tuple(weights)
        self._process = RewardProcess(names, limit_s)

    def of(self, batch: RewardBatch) -> list[float]:
        """Rewards of the N answers of a batch.

        Raises:
            TaskError: as :meth:`RewardProcess.values`; or all functions return None for an answer.
        """
        values = self._process.values(batch)
        totals = [weighted_sum(of_answer, self._weights) for of_answer in zip(*values, strict=True)]
        for row, total in enumerate(totals):
            if total is None:
                raise TaskError(
                    f"reward {' and '.join(map(repr, self._process.names))} returns None for {batch.describe(row)}; "
                    "at least one reward must return a number"
                )
        return [total for total in totals if total is not None]

    def close(self) -> None:
        """End the process of the functions."""
        self._process.close()


def weighted_sum(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """Sum of weight × value over the values that are there; None where there is none.

    Example:
        >>> weighted_sum([1.0, None, 3.0], [1.0, 5.0, 0.5]), weighted_sum([None], [1.0])
        (2.5, None)
    """
    there = [weight * value for value, weight in zip(values, weights, strict=True) if value is not None]
    return sum(there) if there else None
