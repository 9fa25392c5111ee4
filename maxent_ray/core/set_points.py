"""Set points that move: from the signal as it is measured to its target, in finite time.

At the start of a run KL to the reference is 0, and its target is not: taken as an error, the whole distance would be
integrated, β pulled far down, and KL sent past its target. So the loop is given a set point that starts at what was
measured and is at the target after T steps, along a raised cosine, without a jump in value or slope:

    r(k) = x₀ + (r* − x₀) · ½(1 − cos(πk/T)),  k = 1 … T;   r(k) = r* from then on

Such a transition begins at the first measurement of a run, and again whenever the target is another than the settings
say it was a step before. So it begins again under other settings, and not at every step of an annealed target, which it
follows.

Source: Åström and Hägglund 2006, "Advanced PID control", section 5.3 (set-point handling).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32


class SetPoints(NamedTuple):
    """Set points of H and KL at one step (nats); None where there is no target, or the transition has not begun.

    Example:
        >>> SetPoints(entropy=1.9, kl=None).entropy
        1.9
    """

    entropy: float | None
    kl: float | None


@dataclass(frozen=True)
class SetPoint:
    """Memory of one loop's set point. Pure: :meth:`advance` returns a new one.

    Example:
        >>> transition = SetPoint()
        >>> for kl in (0.0, 0.01, 0.04):
        ...     transition = transition.advance(kl, target=0.05, expected=0.05, horizon=2)
        ...     print(round(transition.value(0.05, horizon=2), 3))
        0.025
        0.05
        0.05
    """

    start: float | None = None
    """Signal at the start of the transition (nats); None: it is over, or has not begun."""
    progress: int = 0
    """Steps since the transition began, each with a measurement; 0: waiting for the first."""
    target_checksum: int | None = None
    """Checksum of the last step's target, which is a setting and no part of the state; None: there was none, or a
    checkpoint of an older schema did not say."""

    def advance(
        self, measured: float | None, target: float | None, expected: float | None, horizon: int
    ) -> SetPoint:
        """Take one training step.

        Args:
            measured: The signal now (nats); None: nothing was measured, or the loop is not to begin yet.
            target: Its target at this step (nats); None: it has none.
            expected: Target at the step before, as today's settings have it (nats).
            horizon: T, steps. A transition that is over stays so under a longer one.
        """
        changed = self.target_checksum is not None and self.target_checksum != checksum_of(expected)
        if target is not None and self.progress and not changed:
            progress = self.progress + (measured is not None)
            start = None if progress >= horizon else self.start
            return SetPoint(start, progress, checksum_of(target))
        if target is None or measured is None:
            return SetPoint()
        return SetPoint(measured if horizon > 1 else None, 1, checksum_of(target))

    def began_within(self, steps: int) -> bool:
        """True where the transition began in the last ``steps`` steps: the target is another one than before."""
        return 0 < self.progress <= steps

    def value(self, target: float | None, horizon: int) -> float | None:
        """Set point at this step (nats); None while there is no target or the transition has not begun.

        Args:
            target: Target at this step (nats).
            horizon: T, steps; 0: the set point is the target.
        """
        if target is None or horizon == 0:
            return target
        if self.progress == 0:
            return None
        if self.start is None or self.progress >= horizon:
            return target
        part = 0.5 * (1 - math.cos(math.pi * self.progress / horizon))
        return self.start + part * (target - self.start)


def checksum_of(target: float | None) -> int | None:
    """Checksum of a target, by which a change is seen; None without one.

    Example:
        >>> checksum_of(0.05) == checksum_of(0.1), checksum_of(None)
        (False, None)
    """
    return None if target is None else crc32(repr(float(target)).encode())


def kl_scale(set_point: float | None, target: float) -> float:
    """Error of KL that counts as 100 %: the geometric mean of set point and target, and the target once it is reached.

    KL is a rate's result: its noise, and what β does to it, grow with it. An error relative to the target alone would
    count for little while the set point is low, and one relative to the set point would be all noise there.

    Example:
        >>> kl_scale(0.0125, target=0.05), kl_scale(0.05, target=0.05)
        (0.025, 0.05)
    """
    if set_point is None or set_point <= 0 or set_point == target:
        return target
    return math.sqrt(set_point * target)
