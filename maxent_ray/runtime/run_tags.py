"""Tags of a run's metrics in Prometheus."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from maxent_ray.telemetry import ascii_label


@dataclass(frozen=True)
class RunTags:
    """Names that a run has in its metrics.

    Example:
        >>> RunTags("first", "analytic-0", "analytic").encoded(rank="0")
        {'run': 'first', 'trial': 'analytic-0', 'objective': 'analytic', 'rank': '0'}
    """

    run: str
    """Name of the results folder, or the ``run_id`` of a training loop of your own."""
    trial: str
    """Name of the trial in its records; that of the run where there is only one."""
    objective: str
    """Name of the objective as in rows, such as ``analytic``, ``fixed`` or ``grpo``."""

    def encoded(self, **others: str) -> dict[str, str]:
        """These tags and ``others``, with values that Ray's metrics take."""
        return encode_tags(**asdict(self), **others)


def encode_tags(**tags: str) -> dict[str, str]:
    """Tags with values that Ray's metrics take."""
    return {key: ascii_label(value) for key, value in tags.items()}
