"""Every way that a report can be wrong: where (places) and with what (values).

Hypothesis draws recipes, not reports: it prints and compares what it draws, and some values here are megabytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st

from maxent_ray.core.controller_state import Coefficients, ControllerState
from maxent_ray.core.objectives import ControllerGradients, Sensitivity
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.runtime.protocol import Report
from tests.runtime.support import unrolled

RANKS, STEPS, GENERATION = 4, 3, 2


class Weird(NamedTuple):
    """The name of a value in :data:`WEIRD`."""

    name: str


class Gone:
    """Stands for an attribute that is not there, as when the sender has another version of the package."""


def nested(depth: int) -> Any:
    value: Any = 1.0
    for _ in range(depth):
        value = {"tau": value}
    return value


WEIRD: dict[str, Any] = {
    "gone": Gone,
    "none": None,
    "true": True,
    "false": False,
    "ten megabytes of text": "9" * 10_000_000,
    "bytes": b"1",
    "list": [],
    "list of one": [1.0],
    "tuple": (),
    "dict": {},
    "a million keys": dict.fromkeys(range(1_000_000), 0.0),
    "a million rounds": (Coefficients(0.3, 0.1, 0, 0),) * 1_000_000,
    "a hundred thousand levels": nested(100_000),
    "complex": 1j,
    "fraction": Fraction(1, 2),
    "decimal": Decimal("1"),
    "tensor": torch.tensor(1.0),
    "nan tensor": torch.tensor(math.nan),
    "tensor of three": torch.ones(3),
    "numpy float32": np.float32(1),
    "numpy int": np.int64(1),
    "numpy bool": np.bool_(True),
    "numpy array": np.ones(3),
    "numpy scalar array": np.array(1.0),
    "object": object(),
    "function": nested,
    "class": Report,
    "coefficients": Coefficients(0.3, 0.1, 0, 0),
    "10**400": 10**400,
    "-10**400": -(10**400),
    "numpy nan": np.float64("nan"),
    "numpy 1e308": np.float64(1e308),
    "list of none": [None],
    "list of dicts": [{}],
}


UNSENDABLE = frozenset({"a hundred thousand levels", "gone"})
"""What pickle refuses; and what a class in a module of tests is to a process that has no such module."""


class Wrong(NamedTuple):
    """Values that a field must not have."""

    weird: frozenset[str]
    """Names of them in :data:`WEIRD`: each is tried."""
    drawn: st.SearchStrategy[Any] | None = None
    """More of them than can be tried."""

    @property
    def all(self) -> st.SearchStrategy[Any]:
        named = [st.sampled_from([Weird(name) for name in sorted(self.weird)])] if self.weird else []
        return st.one_of(*named, *([self.drawn] * 3 if self.drawn is not None else ()))


def weird(*but: str, drawn: st.SearchStrategy[Any] | None = None) -> Wrong:
    return Wrong(frozenset(WEIRD) - set(but), drawn)


def drawn(*strategies: st.SearchStrategy[Any]) -> Wrong:
    return Wrong(frozenset(), st.one_of(strategies))


NO_NUMBER_DRAWN = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, "1", "nan", ""]),
    st.floats(min_value=1.1e100),
    st.floats(max_value=-1.1e100),
    st.text(max_size=30),
    st.integers(min_value=10**101),
)


def no_number(*more: st.SearchStrategy[Any]) -> Wrong:
    return weird(drawn=st.one_of(NO_NUMBER_DRAWN, *more))


def no_count(*more: st.SearchStrategy[Any], least: int = 0) -> Wrong:
    """Neither a whole number of at least ``least`` nor one at all; floats are none either."""
    return no_number(st.integers(max_value=least - 1), st.integers(min_value=2**53 + 1), st.floats(), *more)


SCALARS = st.one_of(st.integers(), st.floats(), st.text(max_size=30))
NO_TEXT_DRAWN = st.one_of(st.integers(), st.floats(), st.just("x" * 2001))
NEGATIVE, POSITIVE = st.floats(-1e99, -1e-99), st.floats(1e-99, 1e99)


class Place(NamedTuple):
    """Where something is wrong."""

    field: str
    """What the error must name."""
    put: Callable[[Report, Any], Any]
    """A report and a bad value to a bad report."""
    values: Wrong


@dataclass(frozen=True)
class Recipe:
    """How to spoil a good report."""

    place: str
    value: Any

    @property
    def field(self) -> str:
        return PLACES[self.place].field

    @property
    def bad(self) -> Any:
        return WEIRD[self.value.name] if isinstance(self.value, Weird) else self.value

    def spoil(self, good: Report) -> Any:
        return PLACES[self.place].put(good, self.bad)

    def shows(self) -> str:
        """What the error must at least show of the value."""
        bad = self.bad
        if bad is Gone or self.place.endswith("*"):
            return ""
        if bad is None or isinstance(bad, bool | float):
            return repr(bad)
        if isinstance(bad, int):
            return repr(bad) if abs(bad) < 2**64 else ""
        if isinstance(bad, str):
            return repr(re.split("['\"]", bad[:9])[0])[1:-1]  # which quotes a repr uses depends on the rest
        return type(bad).__name__


def with_field(value: Any, name: str, bad: Any) -> Any:
    """A frozen dataclass with one attribute replaced, or gone."""
    if bad is not Gone:
        return replace(value, **{name: bad})
    copy = object.__new__(type(value))
    copy.__dict__.update({key: each for key, each in vars(value).items() if key != name})
    return copy


def without_key(values: dict[str, Any], name: str, bad: Any) -> dict[str, Any]:
    return {key: each for key, each in values.items() if key != name} | ({} if bad is Gone else {name: bad})


def in_report(name: str, values: Wrong, mark: str = "") -> dict[str, Place]:
    return {f"{name}{mark}": Place(name, lambda good, bad: with_field(good, name, bad), values)}


def values_of(cls: type, field: Any) -> Wrong:
    """What a number of a record must not be."""
    if field.name == "share":
        return no_number(NEGATIVE, st.floats(1.001, 1e99), st.just(0.0))
    if field.name == "kl_beta_sum":
        return no_number(POSITIVE)
    if field.name == "entropy_tau_sum" or (field.name in ("tau", "beta") and cls is not BatchStatistics):
        return no_number(NEGATIVE)
    return no_count(least=-2 if field.name == "step" else 0) if field.name in _COUNTS else no_number()


def in_record(
    name: str, make: Callable[[Report], Any], wrap: Callable[[Report, Any], Any], cls: type
) -> dict[str, Place]:
    """Each number of a record that a report carries."""

    def place(field: Any) -> Place:
        def put(good: Report, bad: Any) -> Any:
            return replace(good, **{name: wrap(good, with_field(make(good), field.name, bad))})

        return Place(field.name, put, values_of(cls, field))

    return {f"{name}.{cls.__name__}.{field.name}": place(field) for field in fields(cls)}


_COUNTS = ("groups", "completions", "tokens", "tied_groups", "steps", "version", "step")
_PARTS = ("tau_rule", "beta_rule", "sensitivities", "decoupling", "window", "reasons")
OLD = ControllerState(tau=0.5, beta=0.2).to_dict()
"""Older than what the service has: a report that carries it is as good as one that carries none."""


def in_state(name: str, values: Wrong) -> dict[str, Place]:
    return {
        f"state.{name}": Place(
            name, lambda good, bad: replace(good, state=without_key(OLD, name, bad)), values
        )
    }


def sensitivity_of(good: Report) -> Any:
    return unrolled(good.rank, good.step).sensitivity


def with_sensitivity(good: Report, sensitivity: Any) -> ControllerGradients:
    return replace(unrolled(good.rank, good.step), sensitivity=sensitivity)


def unroll(name: str, *values: float) -> dict[str, Place]:
    """An unroll of well-formed numbers that this controller cannot have asked for."""

    def put(good: Report, bad: Any) -> Any:
        return replace(good, gradients=with_sensitivity(good, replace(sensitivity_of(good), **{name: bad})))

    return {f"unroll.{name}": Place(name, put, drawn(st.sampled_from(values)))}


def plain_gradient(name: str) -> dict[str, Place]:
    def put(good: Report, bad: Any) -> Any:
        return replace(good, gradients=with_field(ControllerGradients(0.1, 0.1), name, bad))

    return {f"gradients.{name}": Place(name, put, weird("none", drawn=NO_NUMBER_DRAWN))}


PLACES: dict[str, Place] = {
    "report*": Place("report", lambda good, bad: bad, weird("gone")),
    **in_report("run_id", weird(drawn=NO_TEXT_DRAWN | st.text(max_size=300).filter(lambda text: text != "run"))),
    **in_report("rank", no_count(st.integers(RANKS, 2**53))),
    **in_report("step", no_count(st.integers(STEPS + 6, 2**53))),
    **in_report("statistics", weird(drawn=SCALARS)),
    **in_report("gradients", weird("gone", "none", drawn=SCALARS)),
    **in_report("state", weird("gone", "none", drawn=SCALARS), mark="*"),
    **in_report("answered", weird("gone", "list", "tuple", drawn=SCALARS), mark="*"),
    **in_report("unreachable_steps", no_count()),
    **in_report("generation", no_count(least=GENERATION)),
    **in_report("partial_gradients", weird("true", "false", drawn=SCALARS)),
    **in_report("world_size", weird("none", drawn=SCALARS.filter(lambda size: size != RANKS))),
    **in_report("void", weird(drawn=NO_TEXT_DRAWN)),
    **in_record("statistics", lambda good: good.statistics, lambda good, bad: bad, BatchStatistics),
    **in_record("answered", lambda good: WEIRD["coefficients"], lambda good, bad: (bad,), Coefficients),
    **in_record("gradients", sensitivity_of, with_sensitivity, Sensitivity),
    **plain_gradient("tau_grad"),
    **plain_gradient("beta_grad"),
    "gradients.source": Place(
        "source",
        lambda good, bad: replace(good, gradients=with_field(unrolled(0, 0), "source", bad)),
        weird(drawn=NO_TEXT_DRAWN),
    ),
    "gradients.sensitivity*": Place(
        "sensitivity",
        lambda good, bad: replace(good, gradients=with_sensitivity(good, bad)),
        weird("gone", "none", drawn=SCALARS),
    ),
    **unroll("steps", 0, 2, 16),
    **unroll("tokens", 0),
    **unroll("tau", 0.0, -0.0),
    **unroll("beta", 0.0, -0.0),
    **in_state("tau", no_number(NEGATIVE)),
    **in_state("beta", no_number(NEGATIVE)),
    **in_state("version", no_count()),
    **in_state("step", no_count(least=-1)),
    **{f"{place}*": wrong for name in _PARTS for place, wrong in in_state(name, weird("dict", drawn=SCALARS)).items()},
    "state.reasons.because*": Place(
        "because", lambda good, bad: replace(good, state={**OLD, "reasons": {"because": bad}}), weird(drawn=SCALARS)
    ),
    "state.unknown*": Place(
        "unknown", lambda good, bad: replace(good, state={**OLD, "unknown thing": bad}), weird(drawn=SCALARS)
    ),
}
RECIPES = st.sampled_from(sorted(PLACES)).flatmap(
    lambda place: PLACES[place].values.all.map(lambda value: Recipe(place, value))
)


def every_weird_value(place: str) -> list[Recipe]:
    return [Recipe(place, Weird(name)) for name in sorted(PLACES[place].values.weird)]
