"""Totals of running counts, which start from 0 again with every new process of a worker."""

from __future__ import annotations

from collections.abc import Iterable

from maxent_ray.storage.json_lines import Record


def running_totals(rows: Iterable[Record], name: str) -> dict[str, int]:
    """Sum a running count over all attempts of each trial: clones, restarts, pauses and resumes.

    A new attempt shows in a rank that goes back to an earlier step, or counts less than before; ranks start together.
    Ranks count the same events each for itself, so that the largest count of an attempt is the attempt's.

    Args:
        rows: As they were recorded, in order, those that were superseded included.
        name: The count; rows without it are left out.

    Example:
        >>> counts = [0, 2, 3, 0, 1]
        >>> rows = [{"trial": "a", "rank": 0, "step": step, "held": held} for step, held in enumerate(counts)]
        >>> running_totals(rows, "held")
        {'a': 4}
    """
    attempts: dict[str, int] = {}
    newest: dict[tuple[str, int], tuple[int, int, float]] = {}  # (trial, rank) → attempt, step and count
    largest: dict[str, dict[tuple[object, int], float]] = {}  # trial → (segment, attempt) → count
    for row in rows:
        trial, step, count = row["trial"], row["step"], row.get(name)
        if not isinstance(count, int | float):
            continue
        attempt = attempts.setdefault(trial, 0)
        known, before, counted = newest.get((trial, row["rank"]), (attempt, -1, 0))
        if known == attempt and (step <= before or count < counted):
            attempt = attempts[trial] = attempt + 1
        newest[trial, row["rank"]] = attempt, step, count
        own, key = largest.setdefault(trial, {}), (row.get("segment"), attempt)
        own[key] = max(own.get(key, 0), count)
    return {trial: round(sum(counts.values())) for trial, counts in largest.items()}
