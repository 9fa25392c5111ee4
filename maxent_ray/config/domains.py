"""Domains of a search: where the values of a searched setting come from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from maxent_ray.config.section import Finite, FromList, Positive, Section


class Uniform(Section):
    """Uniform on [low, high]; perturbations are clamped to it."""

    type: Literal["uniform"] = "uniform"
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _ordered(self) -> Uniform:
        _check_order(self.low, self.high)
        return self


class LogUniform(Section):
    """Log-uniform on [low, high], low > 0; perturbations are clamped to it."""

    type: Literal["loguniform"] = "loguniform"
    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _ordered(self) -> LogUniform:
        _check_order(self.low, self.high)
        return self


class Choice(Section):
    """One of a list; in a grid sweep every one. A value may be a mapping, such as the settings of an update rule."""

    type: Literal["choice"] = "choice"
    values: Annotated[tuple[int | Finite | str | bool | dict[str, Any] | None, ...], Field(min_length=1), FromList]


Domain = Annotated[Uniform | LogUniform | Choice, Field(discriminator="type")]

DEFAULT_SEARCH_SPACE: dict[str, dict[str, Any]] = {
    "controller.target_entropy_fraction": {"type": "uniform", "low": 0.7, "high": 0.9},
    "controller.target_kl": {"type": "loguniform", "low": 0.1, "high": 0.4},
    "controller.tau_rule.learning_rate": {"type": "loguniform", "low": 1.0, "high": 4.0},
    "controller.beta_rule.learning_rate": {"type": "loguniform", "low": 0.1, "high": 0.4},
    "controller.update_interval": {"type": "choice", "values": [1, 2, 3]},
}


def _check_order(low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"low is {low} and high is {high}: the bounds cross")
