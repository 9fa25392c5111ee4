"""Shapes in signatures are enforced while tests run."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import FunctionType, ModuleType

import pytest
import torch
from jaxtyping import TypeCheckError

from maxent_ray.core.hypergradient.interface import Hypergradient
from maxent_ray.core.weighting import group_weights, listwise_q
from maxent_ray.policy import token_kl
from tests.shapes import SHAPE, modules_with

MODULES = modules_with(SHAPE)


def test_a_wrong_shape_is_refused_in_a_call() -> None:
    assert group_weights(torch.zeros(2, 3), torch.zeros(2, 3), 0.3, 1).shape == (2, 3)
    with pytest.raises(TypeCheckError, match=r"group_weights.*\n.*parameter 'ref_logprobs'\.\n.*f32\[2,4\]"):
        group_weights(torch.zeros(2, 3), torch.zeros(2, 4), 0.3, 0.1)
    with pytest.raises(TypeCheckError, match=r"token_kl.*\n.*parameter 'mask'\.\n.*bool\[4,2\]"):
        token_kl(torch.zeros(4, 3, 5), torch.zeros(4, 3, 5), torch.ones(4, 2, dtype=torch.bool))


def test_a_wrong_dtype_is_refused_in_a_call() -> None:
    with pytest.raises(TypeCheckError, match=r"listwise_q.*\n.*parameter 'rewards'\.\n.*i64\[1,2\]"):
        listwise_q(torch.zeros(1, 2, dtype=torch.int64), 1.0, 0.0)


def test_a_wrong_shape_is_refused_in_a_dataclass() -> None:
    with pytest.raises(TypeCheckError, match=r"Hypergradient.*\n.*parameter 'beta'"):
        Hypergradient(torch.zeros(2), torch.zeros(3), torch.zeros(2))


@pytest.mark.parametrize("name", MODULES)
def test_every_function_that_names_shapes_is_checked(name: str) -> None:
    """One of a module that imports jaxtyping for type checkers alone would not be."""
    functions = list(functions_with_shapes(importlib.import_module(name)))
    assert functions
    assert [function for function in functions if not hasattr(function, "__wrapped__")] == []


def functions_with_shapes(module: ModuleType) -> Iterator[FunctionType]:
    """Functions, methods and constructors of dataclasses that a module defines."""
    classes = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]
    for owner in (module, *classes):
        for member in vars(owner).values():
            function = member.fget if isinstance(member, property) else member
            own = isinstance(function, FunctionType) and function.__module__ == module.__name__
            if own and any(map(SHAPE.search, map(str, function.__annotations__.values()))):
                yield function
