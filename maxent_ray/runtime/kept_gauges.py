"""Gauges that hold their values between two measurements.

Ray exports a gauge only when it was set, and drops it 20 s later, so that the gauges of a process that has ended
disappear. A training step may take minutes: until then the last value is set again and again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from threading import Lock

from ray.util.metrics import Gauge

from maxent_ray.repeating import Repeating
from maxent_ray.runtime.metric_table import Metric
from maxent_ray.telemetry import Telemetry

REPEAT_S, KEEP_S = 5.0, 900.0
"""Seconds between two repetitions, and from a value's measurement to its last one."""

_Series = tuple[str, tuple[tuple[str, str], ...]]


class KeptGauges:
    """Gauges of one process, with any tags.

    Args:
        metrics: The gauges.
        keep_s: Seconds that a value is repeated for.
    """

    def __init__(self, metrics: Sequence[Metric], keep_s: float = KEEP_S) -> None:
        self._gauges = {each.name: Gauge(each.name, each.text, each.keys) for each in metrics}
        self._keep_s = keep_s
        self._values: dict[_Series, tuple[float, float]] = {}
        self._lock = Lock()
        self._telemetry = Telemetry("metrics cannot be repeated; training continues")
        self._repetitions = Repeating(self._repeat, REPEAT_S, "maxent-ray-gauges")
        self._repetitions.start()

    def set(self, values: Mapping[str, float | None], tags: dict[str, str]) -> None:
        """Set gauges by their metrics' names; None, or a number that is not finite, leaves one as it is."""
        series, now = tuple(tags.items()), time.monotonic()
        with self._lock:
            for name, value in values.items():
                if value is not None and math.isfinite(value):
                    self._gauges[name].set(value, tags)
                    self._values[name, series] = (value, now)

    def clear(self) -> None:
        """Repeat no value that was set so far: its run has ended, or has other tags from now on."""
        with self._lock:
            self._values.clear()

    def close(self) -> None:
        """End the repetitions."""
        self._repetitions.end()

    def _repeat(self) -> None:
        with self._telemetry.attempt(), self._lock:
            oldest = time.monotonic() - self._keep_s
            self._values = {each: known for each, known in self._values.items() if known[1] >= oldest}
            for (name, series), (value, _) in self._values.items():
                self._gauges[name].set(value, dict(series))
