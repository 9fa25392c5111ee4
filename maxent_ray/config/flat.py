"""Settings of an experiment as one flat table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from maxent_ray.config.section import Section


def flat_settings(config: Section) -> dict[str, Any]:
    """Flatten a configuration: dotted key → value, as JSON has it.

    Example:
        >>> from maxent_ray.config import ExperimentConfig
        >>> flat_settings(ExperimentConfig())["controller.target_kl"]
        0.2
    """
    return dict(_flat("", config.model_dump(mode="json")))


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value
