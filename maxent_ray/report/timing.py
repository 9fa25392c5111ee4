"""Estimate of the time left of a job that is counted in policy steps."""

from __future__ import annotations


class TimeLeft:
    """Estimator of the time left, from the average speed since the first step began, start-up not counted.

    With n of N steps done by time t and work begun at time s, the rest takes (N − n)(t − s)/n. Several trials
    report a few steps each at almost the same moment, so the first report alone must not set the speed to "no
    time at all": s is the moment of the first report minus the time that its steps took.

    Args:
        total: N, policy steps of the whole job.

    Example:
        >>> left = TimeLeft(total=100)
        >>> left.at(12.0) is None
        True
        >>> left.advance(5, now=20.0, step_seconds=2.0)  # start-up took 10 s, five steps 10 s
        >>> left.at(20.0)
        190.0
        >>> left.at(30.0)
        180.0
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._replayed = 0
        self._began = 0.0
        self._advanced = 0.0

    def replay(self, steps: int) -> None:
        """Count `steps` that an earlier, interrupted run has done: they say nothing about the speed."""
        self.done += steps
        self._replayed += steps

    def advance(self, steps: int, now: float, step_seconds: float | None) -> None:
        """Count `steps` more.

        Args:
            steps: Policy steps that were done, 0 or more.
            now: Seconds on any clock that does not go back.
            step_seconds: What one of them took; None when that is not known.
        """
        if steps <= 0:
            return
        if self.done == self._replayed:
            self._began = now - steps * step_seconds if step_seconds is not None else self._began
        self.done += steps
        self._advanced = now

    def skip(self, steps: int) -> None:
        """Take off ``steps`` that will not be done, as their trial was stopped early.

        Example:
            >>> left = TimeLeft(total=100)
            >>> left.skip(40)
            >>> left.total
            60
        """
        self.total -= steps

    def start(self, now: float) -> None:
        """Set the time that counts as the beginning if the first steps do not tell how long they took."""
        self._began = now

    def at(self, now: float) -> float | None:
        """Estimate the seconds left: 0 when all is done, None before the first step.

        Between two reports the time runs down, but to no less than half of what the last report said, so that
        a stalled job does not claim to be finished.
        """
        if self.done >= self.total:
            return 0.0
        own, rest = self.done - self._replayed, self.total - self.done
        if own == 0:
            return None
        estimate = rest * (self._advanced - self._began) / own
        return max(estimate - (now - self._advanced), estimate / 2)


def clock(seconds: float | None) -> str:
    """Write minutes and seconds, or hours, minutes and seconds.

    Example:
        >>> clock(75.2), clock(3671), clock(None)
        ('1:15', '1:01:11', '–:––')
    """
    if seconds is None:
        return "–:––"
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
