"""Progress as one line of a log: how far, how long, and how the trials are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from maxent_ray.report.formatting import fixed
from maxent_ray.report.progress_table import TrialLine

_STATES = ("running", "paused", "done", "failed")


def progress_line(times: str, phase: str, lines: Sequence[TrialLine]) -> str:
    """Write the line.

    Args:
        times: Steps done and times, from :func:`~maxent_ray.report.progress_bar.steps_and_times`.
        phase: The job's phase.
        lines: One for each trial; of one trial alone, its newest step is shown, of several their states.

    Example:
        >>> row = {"reward": 0.31, "entropy": 1.93, "target_entropy": 1.98, "kl": 0.048, "target_kl": 0.05}
        >>> progress_line("25 %  30 of 120 policy steps", "training", [TrialLine("mine", row=row)])
        '25 %  30 of 120 policy steps -- training: H 1.93/1.98, KL 0.048/0.050, reward 0.31'
        >>> progress_line("25 %  30 of 120 policy steps", "training 2 trials", [TrialLine("a"), TrialLine("b")])
        '25 %  30 of 120 policy steps -- training 2 trials: 2 running'
    """
    if not lines:
        return f"{times} -- {phase}"
    if len(lines) == 1:
        one = lines[0]
        h, kl = (f"{fixed(one[name], places)}/{fixed(one[f'target_{name}'], places)}" for name, places in _SIGNALS)
        return f"{times} -- {phase}: H {h}, KL {kl}, reward {fixed(one.reward, 2)}"
    counts = Counter(line.state for line in lines)
    return f"{times} -- {phase}: {', '.join(f'{counts[state]} {state}' for state in _STATES if counts[state])}"


_SIGNALS = (("entropy", 2), ("kl", 3))
