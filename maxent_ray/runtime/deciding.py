"""Decide a round: the request that rank 0 makes of it, and the function that answers, in the actor or in rank 0.

A request carries all that the decision depends on, settings and state included. Requests and answers are lines of JSON,
in which every float keeps every bit.
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
    """None: some rank's are not usable."""
    gradients: ControllerGradients | None = None
    events: tuple[str, ...] = ()
    """Notes on the measurement, for the decision's events."""


def config_text(config: ControllerConfig) -> str:
    """A controller's settings as one line."""
    return json.dumps(config.to_dict())


def state_text(state: ControllerState) -> str:
    """A controller's state as one line."""
    return json.dumps(state.to_dict())


def request_text(config: str, state: str, measured: Round, telemetry: Mapping[str, Any]) -> str:
    """A request.

    Args:
        config: :func:`config_text`.
        state: :func:`state_text`.
        measured: The round.
        telemetry: What the actor is to export besides the decision; says at least the ``run_id``.
    """
    return "\n".join((json.dumps(telemetry), config, state, json.dumps(to_plain(measured))))


def decide(request: str) -> str:
    r"""Answer a request by ``Controller.step``; depends on nothing else.

    Returns:
        Two lines: the new state, and ``Decision.to_dict()``.

    Example:
        >>> controller = Controller(ControllerConfig(group_size=8, target_entropy=1.9))
        >>> measured = Round(BatchStatistics(groups=1, weight_entropy_sum=2.0))
        >>> texts = config_text(controller.config), state_text(controller.init())
        >>> state, decision = decide(request_text(*texts, measured, {"run_id": "run"})).split("\n")
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
