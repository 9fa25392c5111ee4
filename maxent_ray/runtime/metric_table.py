"""Metrics in Prometheus: one table that the exporting processes, the Grafana panels and the documentation read.

Names follow Prometheus' conventions: the unit comes last, in base units (``_seconds``, ``_nats``), shares are ratios
from 0 to 1 (``_ratio``), and counters end in ``_total``. All have the tags of
:class:`~maxent_ray.runtime.run_tags.RunTags`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from maxent_ray.core import signals
from maxent_ray.core.answer_metrics import DESCRIPTIONS, EXPORTED, METRICS
from maxent_ray.core.signals import LoggedSignal
from maxent_ray.runtime.reduction import PARTIAL, UNUSABLE
from maxent_ray.telemetry import ascii_label

RUN_TAGS = ("run", "trial", "objective")
SECONDS = (1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the histograms' buckets."""
OTHER_EVENT = "other"
"""Any event of a rule of the user's own: its texts are not bounded, as a tag's values must be."""

_RULES = ("clipped", "dead_band", "step_limited", "projected_low", "projected_high")
_NOTES = ("fallback", "overflow", UNUSABLE.rstrip(": "), PARTIAL)
EVENTS = (*(f"{coefficient}.{event}" for coefficient in ("tau", "beta") for event in _RULES), *_NOTES, OTHER_EVENT)
"""Values of the tag ``event``."""


@dataclass(frozen=True)
class Metric:
    """One metric."""

    name: str
    """As Ray gets it: without the ``ray_`` in front and a counter's ``_total``."""
    kind: Literal["gauge", "counter", "histogram"]
    text: str
    """Help text, in ASCII."""
    exporter: Literal["decision", "rank", "run"]
    """The controller's actor at each decision, each rank at each step, or the process that records the run."""
    tags: tuple[str, ...] = ()
    """Besides those of every metric."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of all tags."""
        return (*RUN_TAGS, *self.tags)

    @property
    def in_prometheus(self) -> str:
        """Name of its series, without a histogram's ``_bucket``.

        Example:
            >>> metric("rounds").in_prometheus, metric("round_seconds").in_prometheus
            ('ray_maxent_rounds_total', 'ray_maxent_round_seconds')
        """
        return f"ray_{self.name}_total" if self.kind == "counter" else f"ray_{self.name}"


def exported_metrics() -> tuple[Metric, ...]:
    """List all metrics: the logged signals that are exported, and what only Prometheus has."""
    exported = tuple(_of_signal(signal) for signal in signals.SIGNALS if signal.exporter is not None)
    held_out = tuple(
        Metric(f"maxent_held_out_{EXPORTED[name]}", "gauge", f"{DESCRIPTIONS[name]}, of held-out prompts", "run")
        for name in METRICS
    )
    return (*exported, *_OF_DECISIONS, *held_out, _CLONES)


def metric(name: str) -> Metric:
    """Find a metric by its name after ``maxent_``.

    Raises:
        KeyError: there is none.
    """
    return {each.name: each for each in exported_metrics()}[f"maxent_{name}"]


_OF_DECISIONS = (
    Metric("maxent_entropy_error_ratio", "gauge", "Relative tracking error of the entropy, (H - H*)/H*", "decision"),
    Metric("maxent_kl_error_ratio", "gauge", "Relative tracking error of the KL, (KL - KL*)/KL*", "decision"),
    Metric("maxent_tau_gradient", "gauge", "Error signal of tau, which falls where it is above 0", "decision"),
    Metric("maxent_beta_gradient", "gauge", "Error signal of beta, which rises where it is above 0", "decision"),
    Metric("maxent_rounds", "counter", "Rounds that the controller's actor decided", "decision", ("reason",)),
    Metric("maxent_rounds_decided_locally", "counter", "Rounds decided by rank 0, without the actor", "decision"),
    Metric("maxent_events", "counter", "Rounds with a note of a rule or of the runtime", "decision", ("event",)),
    Metric("maxent_alarms", "counter", "Coefficients that had no effect", "decision", ("kind", "coefficient")),
)
_CLONES = Metric("maxent_clones", "counter", "Clones that a trial has received, under its new objective", "run")


def event_tag(event: str) -> str:
    """Value of the tag ``event`` for a decision's event.

    Example:
        >>> event_tag("beta.clipped"), event_tag("unusable: rank 0 …"), event_tag("overflow.kl"), event_tag("tau.own 3")
        ('beta.clipped', 'unusable', 'overflow', 'other')
    """
    if event in EVENTS:
        return event
    return next((note for note in _NOTES if event.startswith(note)), OTHER_EVENT)


def _of_signal(signal: LoggedSignal) -> Metric:
    assert signal.exporter is not None
    text = f"{signal.description} ({signal.unit})" if signal.unit else signal.description
    kind: Literal["gauge", "histogram"] = "histogram" if signal.is_histogram else "gauge"
    tags = ("rank",) if signal.exporter == "rank" else ()
    return Metric(f"maxent_{signal.metric or signal.name}", kind, ascii_label(text), signal.exporter, tags)
