"""The error tree: drawn as it is, rooted in one class, able to cross a process border."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from maxent_ray import errors
from maxent_ray.errors import ConfigError, InvalidReportError, MaxentRayError

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, Exception) and value.__module__ == errors.__name__
]
LINE = re.compile(r"^ {4}(?P<branch>[│├└─ ]*)(?P<name>\w+)(?: \((?P<also>\w+)\))?(?: {2,}\S.*)?$")


def drawn_tree() -> dict[str, tuple[str | None, str | None]]:
    """Name → (parent, built-in base) as the module's docstring draws it; one branch is four characters wide."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    path: list[str] = []
    assert errors.__doc__ is not None
    for line in errors.__doc__.split("::\n\n")[1].split("\n\n")[0].splitlines():
        match = LINE.match(line)
        assert match, f"not a line of the tree: {line!r}"
        depth = len(match["branch"]) // 4
        path[depth:] = [match["name"]]
        assert len(path) == depth + 1, f"{line!r} hangs on nothing"
        tree[match["name"]] = (path[depth - 1] if depth else None, match["also"])
    return tree


def actual_tree() -> dict[str, tuple[str | None, str | None]]:
    tree = {}
    for cls in CLASSES:
        ours = [base.__name__ for base in cls.__bases__ if issubclass(base, MaxentRayError)]
        builtin = [base.__name__ for base in cls.__bases__ if base.__module__ == "builtins"]
        parent = ours[0] if ours else None
        tree[cls.__name__] = (parent, None if cls is MaxentRayError else next(iter(builtin), None))
    return tree


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert drawn_tree() == actual_tree()


def test_the_tree_lists_parents_before_children() -> None:
    assert next(iter(drawn_tree())) == "MaxentRayError"
    assert len(CLASSES) >= 9


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_survives_a_pickle_with_its_message(cls: type[MaxentRayError]) -> None:
    message = "controller.tau is -1.0; it must be > 0 ≥ β"
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(cls(message), protocol))
        assert type(copy) is cls
        assert str(copy) == message
        assert copy.args == (message,)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_is_caught_by_the_root_and_documented(cls: type[MaxentRayError]) -> None:
    with pytest.raises(MaxentRayError, match="why"):
        raise cls("why")
    assert cls.__doc__ is not None
    assert cls.__doc__.splitlines()[0].endswith(".")


def test_bad_values_are_value_errors_too() -> None:
    """Callers that know nothing of us catch what they would expect."""
    assert issubclass(ConfigError, ValueError)
    assert issubclass(InvalidReportError, ValueError)
