"""The controller's door: what comes from a rank is checked here, whole and strictly, and trusted inside.

A wrong type, a size beyond all use, a number that is not finite: each raises an error that names the rank, the step,
the field and its value (shortened), before anything of the service has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.core.controller_state import Coefficients, ControllerState
from maxent_ray.core.field_kinds import LARGEST_COUNT, shown
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.reading import check_fields
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.errors import InvalidReportError
from maxent_ray.runtime.protocol import Report, StateLoad

MOST_ANSWERED = 16
"""Rounds that a rank may tell the outcome of."""
LONGEST_RUN_ID = 200
LONGEST_REASON = 2000
"""Characters of the reason why a report is void."""


def check_report(report: Report) -> None:
    """Refuse a report that is not what :class:`Report` declares, or whose values cannot be.

    Raises:
        InvalidReportError: names the rank, the step, the field and its value.
    """
    _check_complete("report", report, Report)
    _check_text("run_id", report.run_id, LONGEST_RUN_ID)
    _check_count("rank", report.rank)
    _check_count(f"rank {report.rank}: step", report.step)
    where = f"rank {report.rank}, step {report.step}: "
    for name in ("unreachable_steps", "generation"):
        _check_count(f"{where}{name}", getattr(report, name))
    if report.world_size is not None:
        _check_count(f"{where}world_size", report.world_size, least=1)
    if type(report.partial_gradients) is not bool:
        raise InvalidReportError(f"{where}partial_gradients is {shown(report.partial_gradients)}; it must be a bool")
    _check_text(f"{where}void", report.void, LONGEST_REASON)
    check_statistics(report.rank, report.step, report.statistics)
    check_gradients(report.rank, report.step, report.gradients)
    _check_answered(where, report.answered)


def check_load(load: StateLoad) -> ControllerState:
    """Refuse a malformed load; what it wants loaded, read.

    Raises:
        InvalidReportError: names the field and its value.
    """
    _check_complete("load", load, StateLoad)
    _check_count("rank", load.rank)
    _check_count(f"rank {load.rank}: generation", load.generation)
    if load.world_size is not None:
        _check_count(f"rank {load.rank}: world_size", load.world_size, least=1)
    if load.run_id is not None:
        _check_text(f"rank {load.rank}: run_id", load.run_id, LONGEST_RUN_ID)
    _check_text(f"rank {load.rank}: token", load.token, 64)
    _check_answered(f"rank {load.rank}: ", load.answered)
    return ControllerState.from_dict(load.state)


def check_statistics(rank: int, step: int, statistics: BatchStatistics) -> None:
    """Refuse statistics that are no numbers, not finite, too large or of a sign that they cannot have.

    Raises:
        InvalidReportError: names the rank, the step, the field and its value.
    """
    _check_record(f"rank {rank}, step {step}: statistics", statistics, BatchStatistics)


def check_gradients(rank: int, step: int, gradients: ControllerGradients | None) -> None:
    """Refuse gradients that are no numbers, not finite or too large; None is none.

    Raises:
        InvalidReportError: names the rank, the step, the field and its value.
    """
    if gradients is not None:
        _check_record(f"rank {rank}, step {step}: gradients", gradients, ControllerGradients)


def check_sensitivity(report: Report, config: ControllerConfig) -> None:
    """Refuse an unroll of another length, or at coefficients that this controller cannot have given.

    Raises:
        InvalidReportError: names the rank, the step, the field and its value.
    """
    sensitivity = None if report.gradients is None else report.gradients.sensitivity
    if sensitivity is None:
        return
    where = f"rank {report.rank}, step {report.step}: gradients.sensitivity"
    if sensitivity.steps != config.truncation_steps:
        valid = f"truncation_steps = {config.truncation_steps}"
        raise InvalidReportError(f"{where}.steps is {sensitivity.steps}; it must be {valid}")
    for name, value, holds, valid in (
        ("tokens", sensitivity.tokens, sensitivity.tokens >= 1, ">= 1"),
        ("tau", sensitivity.tau, sensitivity.tau > 0, "> 0"),
        ("beta", sensitivity.beta, sensitivity.beta > 0 or not config.moves("beta"), "> 0"),
        ("beta", sensitivity.beta, sensitivity.beta >= 0, ">= 0"),
    ):
        if not holds:
            raise InvalidReportError(f"{where}.{name} is {value}; it must be {valid}")


def state_of(report: Report) -> ControllerState | None:
    """The controller state that a report carries, read.

    Raises:
        InvalidReportError: it is malformed.
    """
    return None if report.state is None else ControllerState.from_dict(report.state)


def _check_complete(path: str, value: Any, cls: type[Any]) -> None:
    """An instance with every field: one that another version of the package sent may lack some."""
    if type(value) is not cls:
        raise InvalidReportError(f"{path} is {shown(value)}; it must be a {cls.__name__}")
    missing = [field.name for field in fields(cls) if field.name not in vars(value)]
    if missing:
        raise InvalidReportError(f"{path} lacks {', '.join(missing)}; all ranks must run one version of maxent_ray")


def _check_record(path: str, value: Any, cls: type[Any]) -> None:
    if type(value) is not cls:
        raise InvalidReportError(f"{path} is {shown(value)}; it must be a {cls.__name__}")
    check_fields(value, path)


def _check_answered(where: str, answered: Any) -> None:
    if not isinstance(answered, tuple | list) or len(answered) > MOST_ANSWERED:
        size = f" of {len(answered)}" if isinstance(answered, tuple | list | Mapping) else ""
        valid = f"at most {MOST_ANSWERED} Coefficients"
        raise InvalidReportError(f"{where}answered is {shown(answered)}{size}; it must be {valid}")
    for index, entry in enumerate(answered):
        path = f"{where}answered[{index}]"
        if type(entry) is not Coefficients:
            raise InvalidReportError(f"{path} is {shown(entry)}; it must be Coefficients")
        check_fields(entry, path)


def _check_count(path: str, value: Any, least: int = 0) -> None:
    if type(value) is not int or not least <= value <= LARGEST_COUNT:
        raise InvalidReportError(f"{path} is {shown(value)}; it must be a whole number >= {least}")


def _check_text(path: str, value: Any, most: int) -> None:
    if type(value) is not str or len(value) > most:
        raise InvalidReportError(f"{path} is {shown(value)}; it must be a text of at most {most} characters")
