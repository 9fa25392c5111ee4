"""Whether a report has a place in the run as the service knows it: run, world size, rank, generation, step."""

from __future__ import annotations

from typing import NamedTuple

from maxent_ray.core.controller_state import ControllerState
from maxent_ray.core.field_kinds import shown
from maxent_ray.errors import InvalidReportError
from maxent_ray.runtime.decision_log import SIZE
from maxent_ray.runtime.protocol import Report

ROUNDS_AHEAD = 2
"""How far a rank may run ahead of the oldest open round."""
MOST_ALONE = SIZE
"""Rounds that a rank may have gone on alone: more would not stay in the decision log."""


class Place(NamedTuple):
    """Where the service is."""

    run_id: str
    world_size: int
    generation: int
    state: ControllerState
    """After the last closed round."""


def check_place(report: Report, carried: ControllerState, place: Place) -> None:
    """Refuse a report of another run, rank or world than can be, of before the last load, or from too far ahead.

    Args:
        report: Well formed, as :func:`~maxent_ray.runtime.report_check.check_report` sees to.
        carried: The newest state that its rank has seen.
        place: Where the service is.

    Raises:
        InvalidReportError: names the field and its value.
    """
    if report.run_id != place.run_id:
        raise InvalidReportError(f"run_id is {shown(report.run_id)}; this controller serves {place.run_id!r}")
    where = f"rank {report.rank}, step {report.step}: "
    is_newer = report.generation > place.generation  # the service is a restarted one, and the rank knows better
    world_size = report.world_size if is_newer and report.world_size is not None else place.world_size
    if report.world_size not in (None, world_size):
        raise InvalidReportError(
            f"{where}world_size is {report.world_size}; this controller gathers {world_size} reports a round. After a "
            "change of the world size every rank must load a state"
        )
    check_rank(report.rank, world_size)
    if report.generation < place.generation:
        raise InvalidReportError(
            f"{where}another state was loaded since (generation is {report.generation}, {place.generation} is valid); "
            "every rank must load it"
        )
    _check_step(report, carried, place.state, where)


def check_rank(rank: int, world_size: int) -> None:
    """Refuse a rank outside of its world.

    Raises:
        InvalidReportError: names the rank.
    """
    if not 0 <= rank < world_size:
        raise InvalidReportError(f"rank is {rank}; it must be in [0, {world_size}), the world size")


def _check_step(report: Report, carried: ControllerState, state: ControllerState, where: str) -> None:
    """Refuse a step that neither the service nor its rank is near to."""
    alone = carried.step - state.step
    if alone > MOST_ALONE and carried.decided < state.decided:  # nobody could tell what those rounds came to
        raise InvalidReportError(
            f"{where}state.step is {carried.step}, {alone} rounds that this rank went on alone; it must be at most "
            f"{MOST_ALONE}. Load the controller's state to go on"
        )
    expected = max(carried.step, state.step) + 1
    if report.step > expected + ROUNDS_AHEAD:
        raise InvalidReportError(
            f"rank {report.rank}: step is {report.step}, but step {expected} was expected; load the controller's state "
            "to go on from a later step"
        )
