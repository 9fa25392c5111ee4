"""Logged signals: one entry makes a field of ``rows.jsonl``, a Prometheus metric, a plot and a figure of the summary.

An entry needs a place that computes its value: the worker (``TrainingWorker``), or the controller, as a field of its
``Decision`` (which also stands in ``decisions.jsonl``). Everything else reads this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from maxent_ray.core.answer_metrics import DESCRIPTIONS, EXPORTED, METRICS, TRAINING_SIGNALS
from maxent_ray.core.relative_errors import relative_error, usual_scale

Number = float | int | None
Value = float | int | str | None


@dataclass(frozen=True)
class LoggedSignal:
    """One quantity that is logged at every step."""

    name: str
    """Field of a row."""
    unit: str
    """Unit; empty for pure numbers, counts and text."""
    description: str
    """In ASCII if it is exported: Ray's metrics take nothing else, and other letters would be escaped."""
    over_ranks: Literal["mean", "sum", "max", "first"] | None = "mean"
    """Reduction of the ranks' values of one step; None for text, which is kept in rows only."""
    exporter: Literal["decision", "rank"] | None = None
    """Process that exports it to Prometheus: the controller's actor at each decision, or each rank at each step."""
    metric: str = ""
    """Its Prometheus metric, after ``maxent_`` and with its unit; empty for ``name``."""
    is_histogram: bool = False
    """Export a distribution, of values above 0, in place of the last value."""
    plotted: bool = False
    """Show it in a panel of ``signals.png``."""
    summary: Literal["last", "mean", "median", "total"] | None = None
    """Figure of a trial in ``summary.json``: at the last step, over the last perturbation window, over all steps, or
    (counts since the start of a worker's process) summed over all attempts."""
    summary_key: str = ""
    """Name of that figure; empty for ``name``."""
    symbol: str = ""
    """Short name in tables and plots; empty for ``name`` in words."""
    training: Literal["groups", "episodes"] | None = None
    """Kind of training that has it: groups of answers to prompts, or episodes of an environment; None: any."""
    note: str = ""
    """Footnote of a total above 0, to follow the number."""

    @property
    def key(self) -> str:
        """Name of its figure in ``summary.json``."""
        return self.summary_key or self.name

    @property
    def label(self) -> str:
        """Name in tables and plots.

        Example:
            >>> LoggedSignal("gradient_norm", "", "Norm of the policy gradient").label
            'gradient norm'
        """
        return self.symbol or self.name.replace("_", " ")


def target_of(signal: str) -> str:
    """Name of the signal that has another one's target.

    Example:
        >>> target_of("entropy")
        'target_entropy'
    """
    return f"target_{signal}"


SCALES: Mapping[str, str] = {"entropy": "entropy_scale"}
"""Signal with a target → the signal that has the scale of its error; of others, the target is the scale."""


class Values(Protocol):
    """Values of signals at one step: a point or a row."""

    def __getitem__(self, signal: str, /) -> float | None:
        """Value of a signal; None where it is not known."""


def deviation(values: Values, signal: str) -> float | None:
    """Relative error of a signal, (H − H*)/scale or (KL − KL*)/KL*; None where it or its target is not known.

    Rows of older runs lack the scale: then it is the target, or 1 nat where that is not above 0.

    Example:
        >>> deviation({"entropy": 0.75, "target_entropy": 0.25, "entropy_scale": 1.0}, "entropy")
        0.5
    """
    target = values[target_of(signal)]
    scale = values[SCALES[signal]] if signal in SCALES else None
    if scale is None and target is not None:
        scale = usual_scale(target)
    return relative_error(values[signal], target, scale)


_TIED = "Share of the groups whose rewards all tie"

SIGNALS: tuple[LoggedSignal, ...] = (
    LoggedSignal("tau", "", "Entropy temperature tau", exporter="decision", summary="last", symbol="τ"),
    LoggedSignal("beta", "", "KL coefficient beta", exporter="decision", summary="last", symbol="β"),
    LoggedSignal(
        "version",
        "",
        "Rounds decided before these coefficients",
        exporter="decision",
        metric="coefficients_version",
    ),
    *(
        LoggedSignal(
            TRAINING_SIGNALS[metric],
            "",
            f"{DESCRIPTIONS[metric]}, of the training groups",
            exporter="rank",
            metric=EXPORTED[metric],
            training="groups",
        )
        for metric in METRICS
    ),
    LoggedSignal(
        "episode_return",
        "",
        "Mean return of the latest episodes",
        exporter="rank",
        plotted=True,
        training="episodes",
    ),
    LoggedSignal(
        "entropy",
        "nats",
        "Measured entropy H, of the declared signal",
        exporter="decision",
        metric="entropy_nats",
        symbol="H",
    ),
    LoggedSignal(
        "target_entropy", "nats", "Target entropy H*", exporter="decision", metric="target_entropy_nats", symbol="H*"
    ),
    LoggedSignal(
        "entropy_set_point",
        "nats",
        "Set point of H on its way to the target",
        exporter="decision",
        metric="entropy_set_point_nats",
    ),
    LoggedSignal("entropy_scale", "nats", "Error of H that counts as 100 %"),
    LoggedSignal(
        "kl", "nats", "Measured KL, of the declared signal", exporter="decision", metric="kl_nats", symbol="KL"
    ),
    LoggedSignal("target_kl", "nats", "Target KL*", exporter="decision", metric="target_kl_nats", symbol="KL*"),
    LoggedSignal(
        "kl_set_point",
        "nats",
        "Set point of KL on its way to the target",
        exporter="decision",
        metric="kl_set_point_nats",
    ),
    LoggedSignal(
        "policy_entropy",
        "nats per token",
        "Entropy of the policy",
        exporter="rank",
        metric="policy_entropy_nats",
        plotted=True,
    ),
    LoggedSignal(
        "tied_share",
        "",
        _TIED,
        exporter="decision",
        metric="tied_groups_ratio",
        plotted=True,
        symbol="share of tied groups",
        training="groups",
    ),
    LoggedSignal("loss", "", "Policy loss", exporter="rank", plotted=True),
    LoggedSignal("gradient_norm", "", "Norm of the policy gradient before clipping", exporter="rank", plotted=True),
    LoggedSignal(
        "seconds",
        "s",
        "Time of a step",
        exporter="rank",
        metric="step_seconds",
        plotted=True,
        summary="median",
        summary_key="seconds_per_step",
        symbol="time of a step",
    ),
    LoggedSignal("seconds_rollout", "s", "Time of the rollout"),
    LoggedSignal(
        "seconds_hypergradient",
        "s",
        "Time of the unroll",
        exporter="rank",
        metric="hypergradient_seconds",
        is_histogram=True,
        plotted=True,
        symbol="time of the unroll",
        training="groups",
    ),
    LoggedSignal(
        "seconds_controller",
        "s",
        "Time of waiting for, and talking to, the controller",
        exporter="rank",
        metric="round_seconds",
        is_histogram=True,
    ),
    LoggedSignal("reason", "", "Reason of the newest decision that the rank knows of", over_ranks=None),
    LoggedSignal(
        "failed_unrolls",
        "",
        "Unrolls since the worker's process started that ran out of memory; their steps sent no controller gradients",
        over_ranks="max",
        summary="total",
        training="groups",
        note="unroll(s) of truncated backprop ran out of memory; logs say what to choose instead.",
    ),
    LoggedSignal(
        "decided_locally",
        "",
        "Rounds since the worker's process started that rank 0 decided itself, as the actor could not be reached",
        over_ranks="max",
        summary="total",
    ),
    LoggedSignal(
        "failed_exports",
        "",
        "Steps since the worker's process started whose metrics could not be exported",
        over_ranks="max",
        summary="total",
        note="step(s) of a rank were not exported as metrics; the workers' logs have the first reason.",
    ),
)
"""All logged signals, in the order of a row's fields."""

REWARDS: Mapping[str, str] = {"groups": "reward", "episodes": "episode_return"}
"""Kind of training → its signal of the reward, where one stands for all that a policy gets."""


def signals_of(training: str) -> tuple[LoggedSignal, ...]:
    """List the signals that a kind of training has: ``groups`` or ``episodes``.

    Example:
        >>> [signal.name for signal in signals_of("episodes") if signal.training]
        ['episode_return']
    """
    return tuple(signal for signal in SIGNALS if signal.training in (None, training))
