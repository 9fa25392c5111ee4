"""Arms of the tournament: a configuration file each, and the record that is kept of every run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from maxent_ray.config.loading import load_config
from maxent_ray.config.reading import read_file
from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.errors import ConfigError

ARMS = Path(__file__).parent / "configs" / "tournament"
OF_AN_ARM = ("controller", "weighting")
"""Sections that an arm may set; everything else is the same for all."""
LAST = 50
"""Steps at the end of a run that its training figures are means of."""
CURVE_STEPS = 20
"""Steps that each point of a curve is a mean of."""
_TRACKED = ("tau", "beta", "entropy", "kl", "reward", "pass_rate", "coverage", "tied_share", "policy_entropy")


@dataclass(frozen=True)
class Arm:
    """One way to train."""

    family: str
    """Folder of its file."""
    name: str
    """Name of its file."""
    text: str
    """First line of the file, a comment: what it is, and its source."""
    settings: tuple[str, ...]
    """Settings that differ from the defaults, as ``section.key=value``."""
    has_tau: bool = True
    """False: its weighting has no coefficient that τ could be."""


def read_arms(folder: Path = ARMS) -> list[Arm]:
    """Read every ``<family>/<name>.yaml`` below a folder, and check it.

    Raises:
        ConfigError: a file has no comment in its first line, sets what must be equal for all arms, has the name of
            another one, or is refused as a configuration; the message names the file.

    Example:
        >>> {arm.family for arm in read_arms()} >= {"ours", "grpo"}
        True
    """
    arms = [_read_arm(path) for path in sorted(folder.glob("*/*.yaml"))]
    if not arms:
        raise ConfigError(f"--arms is {folder}, which has no <family>/<name>.yaml")
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two arms are called {name!r}; results are kept by that name: rename one file")
    return arms


def _read_arm(path: Path) -> Arm:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    if not first.startswith("# "):
        raise ConfigError(f"{path} begins with {first!r}; its first line must be a comment that says what the arm is")
    values = read_file(path)
    for section in values.keys() - set(OF_AN_ARM):
        raise ConfigError(f"{path} sets {section}, which must be equal for all arms; valid: {', '.join(OF_AN_ARM)}")
    settings = tuple(f"{key}={json.dumps(value)}" for key, value in _leaves("", values))
    try:
        has_tau = load_config(overrides=settings).weighting.tau is not None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return Arm(path.parent.name, path.stem, first.removeprefix("# "), settings, has_tau)


def _leaves(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


def digest(record: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce the record of a run to what the report reads: a hundredth of its size, so that it can be kept for good.

    Args:
        record: As :func:`side_by_side.run_all` makes it.
    """
    rows = record["rows"]
    return {
        **{key: record[key] for key in ("overrides", "then")},
        "held_out": held_out_values(record["held_out"]),
        "last": _means(rows[-LAST:]),
        "curve": [_means(rows[i : i + CURVE_STEPS]) for i in range(0, len(rows), CURVE_STEPS)],
        "target_entropy": rows[-1]["target_entropy"],
        "target_kl": rows[-1]["target_kl"],
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }


def held_out_values(metrics: Mapping[str, Any]) -> dict[str, list[float]]:
    """By metric the values of all prompts, to six decimals.

    Args:
        metrics: As ``HeldOutMetrics.to_dict`` makes them.
    """
    return {metric: [round(value, 6) for value in metrics["per_prompt"][metric]] for metric in METRICS}


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    found = {key: [row[key] for row in rows if row[key] is not None and not math.isnan(row[key])] for key in _TRACKED}
    return {key: float(f"{fmean(values):.6g}") if values else None for key, values in found.items()}
