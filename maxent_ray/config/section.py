"""Base of all sections of a configuration, and the number types that they use."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict

from maxent_ray.core.numbers import LARGEST_COUNT, exact_or_same

Number = Annotated[float, BeforeValidator(exact_or_same)]
Whole = Annotated[int, Field(ge=-LARGEST_COUNT, le=LARGEST_COUNT), BeforeValidator(partial(exact_or_same, whole=True))]
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
