"""What clients and the controller service say to each other: plain frozen values, free of Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maxent_ray.core.controller_state import Coefficients
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.statistics import BatchStatistics


@dataclass(frozen=True)
class Report:
    """What one rank measured in one step, and the newest controller state it has seen."""

    run_id: str
    rank: int
    step: int
    statistics: BatchStatistics
    gradients: ControllerGradients | None = None
    state: Mapping[str, Any] | None = None
    """``ControllerState.to_dict()`` of the newest state this rank has seen: for a controller that lost it."""
    answered: tuple[Coefficients, ...] = ()
    """What the last rounds decided, as far as this rank knows (``step`` is the round's step)."""
    unreachable_steps: int = 0
    """Steps this rank has had to decide without the controller so far."""
    generation: int = 0
    """State loads that this rank knows of: a load voids older reports, which it may overtake on the way."""
    partial_gradients: bool = False
    """Gradients were left out of an earlier merge because some ranks lacked them."""
    world_size: int | None = None
    """Ranks that report, as this rank knows it; None where it does not say."""
    void: str = ""
    """Why this rank measured nothing that can be used, empty when it did: others need not wait for it."""


@dataclass(frozen=True)
class Answer:
    """What one round decided; the same for every rank."""

    coefficients: Coefficients
    """τ and β after the round; ``step`` is the round's step."""
    state: Mapping[str, Any]
    """``ControllerState.to_dict()`` after the round."""
    decision: Mapping[str, Any] | None
    """``Decision.to_dict()``, or None when this controller did not decide the round itself."""


@dataclass(frozen=True)
class StateLoad:
    """One rank's request to go on from a state."""

    rank: int
    state: Mapping[str, Any]
    """``ControllerState.to_dict()``."""
    answered: tuple[Coefficients, ...] = ()
    """What the last rounds before it decided."""
    generation: int = 0
    """The generation that the rank knew of."""
    world_size: int | None = None
    """Ranks that report from now on; None: as many as before."""
    run_id: str | None = None
    """The run whose state it is; an actor that serves another one refuses it."""
    token: str = ""
    """Tells a rank's second load from the first one sent again because its answer was lost."""
