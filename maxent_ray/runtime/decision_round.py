"""Decision of one round: rank 0's request, and the function that decides it, in the actor or in rank 0.

A request carries everything the decision depends on, settings and state included. Requests and answers are lines of
JSON, in which every float keeps every bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.state import ControllerState
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.validation import build_dataclass, to_plain


@dataclass(frozen=True)
class Round:
    """Measurements of one step, merged over all ranks."""

    statistics: BatchStatistics | None
    """None: some rank's are unusable."""
    gradients: ControllerGradients | None = None
    events: tuple[str, ...] = ()
    """Notes on the measurement, for the decision's events."""


def config_text(config: ControllerConfig) -> str:
    """A controller's settings as one line of JSON."""
    return json.dumps(config.to_dict())


def state_text(state: ControllerState) -> str:
    """A controller's state as one line of JSON."""
    return json.dumps(state.to_dict())


def request_text(config: str, state: str, measured: Round, telemetry: Mapping[str, Any]) -> str:
    """Request for the decision on a round.

    Args:
        config: :func:`config_text`.
        state: :func:`state_text`.
        measured: The round.
        telemetry: Values that the actor exports besides the decision; at least ``run_id`` and the run's ``tags``.
    """
    return "\n".join((json.dumps(telemetry), config, state, json.dumps(to_plain(measured))))


def decide(request: str) -> str:
    r"""Decide a request by ``Controller.step``; depends on nothing else.

    Returns:
        Two lines: the new state, and ``Decision.to_dict()``.

    Example:
        >>> controller = Controller(ControllerConfig(group_size=8, target_entropy=1.9))
        >>> measured = Round(BatchStatistics(groups=1, weight_entropy_sum=2.0))
        >>> texts = config_text(controller.config), state_text(controller.init())
        >>> request = request_text(*texts, measured, {"run_id": "run", "tags": {}})
        >>> state, decision = decide(request).split("\n")
        >>> json.loads(decision)["reason"]
        'updated'
    """
    _, config, state, measured = request.split("\n")
    found = build_dataclass(Round, json.loads(measured))
    known = build_dataclass(ControllerState, json.loads(state))
    new, decision = _controller(config).step(known, found.statistics, found.gradients)
    decision = replace(decision, events=(*decision.events, *found.events))
    return f"{state_text(new)}\n{json.dumps(decision.to_dict())}"


@lru_cache(maxsize=64)
def _controller(config: str) -> Controller:
    return Controller(ControllerConfig.from_dict(json.loads(config)))
