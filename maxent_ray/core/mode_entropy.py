"""Entropy of the modes among a group's correct answers: how evenly a policy uses the ways to solve a prompt."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence


def mode_entropy(modes: Sequence[str | None]) -> float | None:
    """Entropy of the empirical distribution of distinct modes among the correct answers of one group (nats).

    With n correct answers, n_m of them of mode m: −Σ_m (n_m/n) log(n_m/n), between 0 (one mode) and log n ≤ log G.

    Args:
        modes: Mode of each answer; None for a wrong one.

    Returns:
        The entropy; None where no answer is correct, as there is no distribution.

    Example:
        >>> round(mode_entropy(["2+3", "3-1", None, "2+3"]), 4), mode_entropy([None, None])
        (0.6365, None)

    Source: the discrete semantic entropy of Farquhar et al. 2024, "Detecting hallucinations in large language models
    using semantic entropy", with correct modes as the classes of meaning.
    """
    counts = Counter(mode for mode in modes if mode is not None)
    total = counts.total()
    return math.fsum(count / total * math.log(total / count) for count in counts.values()) if total else None
