"""The public surface: sorted, complete, importable name by name, and every name with an example that runs.

That the examples run is what ``pytest --doctest-modules maxent_ray`` is for.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import pytest

import maxent_ray
from maxent_ray import errors

FOR_A_TRAINER = {"ClientOptions", "batch_statistics", "group_weights", "listwise_log_q", "maxent_loss"}
"""What a trainer of the user's own needs beside the controller and its client."""

DOCUMENTED = [
    import_module(f"maxent_ray.core.{name}")
    for name in ("hypergradient", "measurement", "policy_loss", "statistics", "update_rules", "weighting")
]
"""Modules whose public classes and functions have examples, beside all that is exported at the top."""


def public_names(module: ModuleType) -> Iterator[str]:
    """Classes and functions of a module, by its ``__all__`` or, without one, those that it defines itself."""
    for name in getattr(module, "__all__", dir(module)):
        value = getattr(module, name)
        is_public = hasattr(module, "__all__") or (name[0] != "_" and inspect.getmodule(value) is module)
        if is_public and (inspect.isclass(value) or inspect.isroutine(value)):
            yield f"{module.__name__}:{name}"


ADDRESSES = [address for module in [maxent_ray, *DOCUMENTED] for address in public_names(module)]

def test_names_are_sorted_and_complete() -> None:
    assert maxent_ray.__all__ == sorted(set(maxent_ray.__all__))
    assert set(maxent_ray.__all__) >= FOR_A_TRAINER
    defined = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
    assert "ConfigError" in defined and defined <= set(maxent_ray.__all__)
    assert set(dir(maxent_ray)) >= set(maxent_ray.__all__)


@pytest.mark.parametrize("name", maxent_ray.__all__)
def test_every_name_loads_and_has_a_docstring(name: str) -> None:
    exported = getattr(maxent_ray, name)
    assert inspect.getdoc(exported)
    assert exported.__module__.startswith("maxent_ray.")


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_public_class_and_function_has_an_example(address: str) -> None:
    module, _, name = address.partition(":")
    heading, example = (getattr(import_module(module), name).__doc__ or "").partition("Example:")[1:]
    assert heading and ">>> " in example, f"{address} has no example that runs in its docstring"


def test_a_docstring_of_a_base_class_is_no_example() -> None:
    """An inherited docstring, as ``inspect.getdoc`` finds, would hide a class without one."""
    assert "Example:" in (inspect.getdoc(type("Silent", (errors.ConfigError,), {})) or "")
    assert type("Silent", (errors.ConfigError,), {}).__doc__ is None


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="Controller"):
        maxent_ray.Kontroller  # noqa: B018


def test_packages_for_other_trainers_need_no_import_of_their_own() -> None:
    program = "import maxent_ray as m; print(m.integrations.TargetKLController.__name__, m.rllib.control.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["TargetKLController", "control"]), done.stderr


def test_the_top_level_loads_nothing_before_a_name_is_used() -> None:
    program = "import sys, maxent_ray; print(*{'ray', 'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
