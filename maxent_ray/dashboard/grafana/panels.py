"""Panels of the Grafana dashboard: titles, Prometheus queries, units and scales, as plain values.

Gauges are averaged and counters summed over a trial's processes: each time a worker starts, Ray labels its series anew.
An event that has not happened yet has no series, and is shown as 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from maxent_ray.runtime.metric_table import metric

UID, TITLE = "maxentRay", "maxent_ray"
VARIABLES = {"SessionName": "Ray session", "run": "Run", "trial": "Trial", "objective": "Objective"}
"""Label → its name above the panels. The Ray dashboard sets ``SessionName``, by this name."""
LISTED = metric("rounds").in_prometheus
"""The series that the variables' values are read from: each run has it from its first decision on."""
TARGET = "target"
SET_POINT = "set point"
"""Beginning of the legends of targets, whose lines are dashed."""

_SELECTED = ",".join(f'{label}=~"${label}"' for label in VARIABLES)
_TRIAL = "run, trial, objective"
_LEGEND = "{{run}} {{trial}} ({{objective}})"
_WINDOW = "[$__rate_interval]"
_QUANTILES = {"median": 0.5, "95 %": 0.95, "99 %": 0.99}


@dataclass(frozen=True)
class Query:
    """One query, and the name of its lines."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One panel."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    """Grafana's name of the unit."""
    logarithmic: bool = False
    stacked: bool = False


@dataclass(frozen=True)
class Section:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...] = field(default=())


def selected(name: str, suffix: str = "") -> str:
    """Select the series of a metric that the variables leave.

    Example:
        >>> selected("tau")[:42]
        'ray_maxent_tau{SessionName=~"$SessionName"'
    """
    return f"{metric(name).in_prometheus}{suffix}{{{_SELECTED}}}"


def _gauge(name: str, what: str = "") -> Query:
    return Query(f"avg by ({_TRIAL}) ({selected(name)})", f"{what} {_LEGEND}".strip())


def _held_out(name: str, what: str) -> Query:
    """A result stays on show after its run has ended."""
    return Query(f"avg by ({_TRIAL}) (last_over_time({selected(f'held_out_{name}')}[$__range]))", f"{what} {_LEGEND}")


def _total(name: str) -> Query:
    """Count since the start, 0 for a trial without any; an increase would miss the first one."""
    none = f"0 * sum by ({_TRIAL}) ({selected('rounds')})"
    return Query(f"sum by ({_TRIAL}) ({selected(name)}) or {none}", _LEGEND)


def _by(name: str, *labels: str) -> Query:
    """Count since the start by labels, and a line ``none`` at 0 while there is none."""
    legend = " ".join(f"{{{{{label}}}}}" for label in labels)
    count = f"sum by ({', '.join(labels)}) ({selected(name)})"
    none = f'label_replace(0 * sum({selected("rounds")}), "{labels[0]}", "none", "", "")'
    return Query(f"{count} or ({none} unless on () {count})", legend)


def _rate(name: str, by: str, legend: str) -> Query:
    return Query(f"sum by ({by}) (rate({selected(name)}{_WINDOW}))", legend)


def _quantiles(name: str) -> tuple[Query, ...]:
    buckets = f"sum by (le, run, objective) (rate({selected(name, '_bucket')}{_WINDOW}))"
    return tuple(
        Query(f"histogram_quantile({quantile}, {buckets})", f"{label} {{{{run}}}} {{{{objective}}}}")
        for label, quantile in _QUANTILES.items()
    )


SECTIONS = (
    Section(
        "Targets",
        (
            Panel(
                "Entropy H and its target",
                "Measured entropy of the declared signal; dashed: its target H*, and the set point on its way there",
                (
                    _gauge("entropy_nats"),
                    _gauge("target_entropy_nats", TARGET),
                    _gauge("entropy_set_point_nats", SET_POINT),
                ),
            ),
            Panel(
                "KL and its target",
                "Measured KL of the declared signal; dashed: its target KL*, and the set point on its way there",
                (_gauge("kl_nats"), _gauge("target_kl_nats", TARGET), _gauge("kl_set_point_nats", SET_POINT)),
            ),
            Panel("Tracking error of H", "(H − H*)/H*", (_gauge("entropy_error_ratio"),), "percentunit"),
            Panel("Tracking error of KL", "(KL − KL*)/KL*", (_gauge("kl_error_ratio"),), "percentunit"),
        ),
    ),
    Section(
        "Coefficients",
        (
            Panel("Entropy temperature τ", "After the newest decision", (_gauge("tau"),), logarithmic=True),
            Panel("KL coefficient β", "After the newest decision", (_gauge("beta"),), logarithmic=True),
            Panel("Error signal of τ", "τ falls where it is above 0", (_gauge("tau_gradient"),)),
            Panel("Error signal of β", "β rises where it is above 0", (_gauge("beta_gradient"),)),
        ),
    ),
    Section(
        "Decisions",
        (
            Panel(
                "Decisions by reason",
                "Rounds per second that the controller's actor decided",
                (_rate("rounds", "reason", "{{reason}}"),),
                "ops",
                stacked=True,
            ),
            Panel(
                "Events",
                "Rounds with a note of an update rule or of the runtime, from the start",
                (_by("events", "event"),),
            ),
            Panel(
                "Alarms",
                "Coefficients that had no effect, from the start; the log says what to change",
                (_by("alarms", "kind", "coefficient", "run", "trial"),),
            ),
            Panel(
                "Rounds decided locally",
                "Rounds that rank 0 decided as the actor could not be reached, from the start",
                (_total("rounds_decided_locally"),),
            ),
        ),
    ),
    Section(
        "Results",
        (
            Panel("Reward", "Mean reward of the training groups", (_gauge("reward"),)),
            Panel("Clones received", "By population-based training, from the start", (_total("clones"),)),
            Panel(
                "Held-out shares",
                "mean@k, pass@k and coverage@k of held-out prompts, at the last evaluation",
                (_held_out("reward", "mean"), _held_out("pass_ratio", "pass"), _held_out("coverage_ratio", "coverage")),
                "percentunit",
            ),
            Panel(
                "Held-out distinct modes",
                "distinct@k of held-out prompts, at the last evaluation",
                (_held_out("distinct_modes", "distinct"),),
            ),
        ),
    ),
    Section(
        "Policy",
        (
            Panel("Policy entropy", "Nats per token, of the policy itself", (_gauge("policy_entropy_nats"),)),
            Panel("Gradient norm", "Before clipping", (_gauge("gradient_norm"),), logarithmic=True),
            Panel("Policy loss", "Mean over the ranks", (_gauge("loss"),)),
            Panel("Tied groups", "Groups whose rewards all tie", (_gauge("tied_groups_ratio"),), "percentunit"),
        ),
    ),
    Section(
        "Cost",
        (
            Panel(
                "Round latency",
                "Time that a step waited for, and talked to, the controller",
                _quantiles("round_seconds"),
                "s",
                logarithmic=True,
            ),
            Panel(
                "Hypergradient time",
                "Time of an unroll of truncated backprop",
                _quantiles("hypergradient_seconds"),
                "s",
                logarithmic=True,
            ),
            Panel("Step time", "Mean over the ranks", (_gauge("step_seconds"),), "s"),
            Panel("Rounds", "Rounds per second of each trial", (_rate("rounds", _TRIAL, _LEGEND),), "ops"),
        ),
    ),
)
"""The dashboard, from top to bottom."""
