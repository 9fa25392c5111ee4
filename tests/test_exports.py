"""The public surface: sorted, complete, and importable name by name."""

from __future__ import annotations

import inspect

import pytest

import maxent_ray


def test_names_are_sorted_and_complete() -> None:
    assert maxent_ray.__all__ == sorted(maxent_ray.__all__)
    assert set(maxent_ray.__all__) == set(maxent_ray._HOMES)


@pytest.mark.parametrize("name", maxent_ray.__all__)
def test_every_name_loads_and_has_a_docstring(name: str) -> None:
    exported = getattr(maxent_ray, name)
    assert inspect.getdoc(exported)
    assert exported.__module__.startswith("maxent_ray.")


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="Controller"):
        maxent_ray.Kontroller  # noqa: B018
