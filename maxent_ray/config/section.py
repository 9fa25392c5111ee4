"""Base of all sections of a configuration, and the number types that they use."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict

from maxent_ray.core.numbers import LARGEST_COUNT, exact_number, exact_whole


def number(value: Any) -> Any:
    """A number of any library as Python's; what is none as it is, for its field to refuse."""
    exact = exact_number(value)
    return value if exact is None else exact


def whole_number(value: Any) -> Any:
    """24 of 24.0 and of numpy's 24; what is no whole number, or not exactly, as it is, for its field to refuse.

    Example:
        >>> whole_number(24.0), whole_number(1.5), whole_number(True), whole_number("24")
        (24, 1.5, True, '24')
    """
    exact = exact_whole(value)
    return value if exact is None else exact


Number = Annotated[float, BeforeValidator(number)]
Whole = Annotated[int, Field(ge=-LARGEST_COUNT, le=LARGEST_COUNT), BeforeValidator(whole_number)]
Finite = Annotated[Number, Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[Number, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[Whole, Field(ge=1)]
Seed = Annotated[Whole, Field(ge=0)]
FromList = Strict(False)
"""Marks a tuple that may be given as a list, as files have it."""


class Section(BaseModel):
    """Base of all sections: frozen, closed to unknown keys, and of exactly the declared types."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, strict=True)
