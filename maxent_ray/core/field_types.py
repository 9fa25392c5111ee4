"""Types of a dataclass's fields: numbers, texts, mappings, lists and structs of such, within limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Annotated, Any, NamedTuple, Protocol

from maxent_ray.core.numbers import exact_number, exact_numbers, exact_whole
from maxent_ray.errors import InvalidReportError

LARGEST = 1e100
"""No number from outside may be as large: three of them still multiply to a float."""
MOST_KEYS, LONGEST_KEY, LONGEST_TEXT, DEEPEST = 32, 64, 200, 5
SHOWN = 60
"""Characters of a refused value that a message shows."""


class Within(NamedTuple):
    """A range for a number that is narrower than its type's: both ends are allowed."""

    least: float = -LARGEST
    most: float = LARGEST


class Keys(NamedTuple):
    """Limits of a mapping's keys besides those that all have."""

    names: tuple[str, ...] = ()
    """The only keys there are; none given: any."""


class Nested(NamedTuple):
    """Marks a mapping of finite numbers by name, nested at will: the memory of a rule or of an objective."""

    non_negative: tuple[str, ...] = ()
    """Keys whose numbers may not be negative."""


NonNegative = Annotated[float, Within(least=0.0)]
LogOfFloat = Annotated[float, Within(-746.0, 231.0)]
"""The natural logarithm of any positive float below :data:`LARGEST`, so that ``exp`` of it is one."""
LastStep = Annotated[int, Within(least=-1)]
"""A step that was done, −1 before the first."""


class Violation(NamedTuple):
    """The first invalid value, and its place."""

    path: str
    value: object
    valid: str

    def error(self) -> InvalidReportError:
        """The error for it, in a message of bounded length."""
        return InvalidReportError(f"{self.path} is {shown(self.value)}; it must be {self.valid}")


def shown(value: object) -> str:
    """A value in a message: short whatever it is, and without running code of its own.

    Example:
        >>> shown(10**5000), shown("a" * 500)[:5], shown([1, 2])
        ('a whole number of 16610 bits', "'aaaa", 'a list')
    """
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if value.bit_length() <= 128 else f"a whole number of {value.bit_length()} bits"
    if isinstance(value, str):
        return repr(value) if len(value) <= SHOWN else f"{value[:SHOWN]!r}… ({len(value)} characters)"
    name = type(value).__name__[:SHOWN]
    return f"{'an' if name[:1].lower() in set('aeiou') else 'a'} {name}"


class FieldType(Protocol):
    """Values that one declared type admits, and their conversion to and from JSON."""

    def violation(self, value: Any, path: str) -> Violation | None:
        """The first invalid part of a value, if any."""

    def build(self, value: Any) -> Any:
        """The field's value, from plain values that have no problem."""

    def plain(self, value: Any) -> Any:
        """Inverse of :meth:`build`."""


@dataclass(frozen=True)
class Number:
    """A finite number in a range. A bool is not accepted, although Python counts it among the integers."""

    whole: bool
    least: float
    most: float
    usual: type[Any]
    """The most frequent type of its values."""

    def violation(self, value: Any, path: str) -> Violation | None:
        """Wrong type, not finite, or out of range."""
        number = self._exact(value)
        if number is not None and self.least <= number <= self.most:  # comparisons with NaN are false
            return None
        return Violation(path, value if number is None else number, self._valid(number))

    def build(self, value: Any) -> Any:
        """The number as the declared type: a float, also from 3; a whole number, also from 3.0."""
        number = self._exact(value)
        return number if self.whole else float(number)  # type: ignore[arg-type]  # it has no violation

    def plain(self, value: Any) -> Any:
        """The same."""
        return value

    def _exact(self, value: object) -> int | float | None:
        """The number that a value is, of whatever library; None if it is none of this type."""
        return exact_whole(value) if self.whole else exact_number(value)

    def _valid(self, number: int | float | None) -> str:
        ends = [f">= {self.least:g}"] if self.whole or self.least > -LARGEST else []
        if number is not None and abs(number) > self.most:
            ends.append(f"<= {self.most:g}" if ends else f"at most {self.most:g} in size")
        return " ".join(["a whole number" if self.whole else "a finite number", " and ".join(ends)]).rstrip()


@dataclass(frozen=True)
class Scalar:
    """A text or a truth value."""

    kind: type

    def violation(self, value: Any, path: str) -> Violation | None:
        """Wrong type, or too long."""
        if isinstance(value, self.kind) and (not isinstance(value, str) or len(value) <= LONGEST_TEXT):
            return None
        return Violation(path, value, f"a text of at most {LONGEST_TEXT} characters" if self.kind is str else "a bool")

    def build(self, value: Any) -> Any:
        """The same."""
        return value

    def plain(self, value: Any) -> Any:
        """The same."""
        return value


@dataclass(frozen=True)
class Optional:
    """A value of another type, or None."""

    inner: FieldType

    def violation(self, value: Any, path: str) -> Violation | None:
        """As of the type inside, unless it is None."""
        return None if value is None else self.inner.violation(value, path)

    def build(self, value: Any) -> Any:
        """None, or what the type inside builds."""
        return None if value is None else self.inner.build(value)

    def plain(self, value: Any) -> Any:
        """None, or the plain value of what is there."""
        return None if value is None else self.inner.plain(value)


@dataclass(frozen=True)
class ListOf:
    """A list of one type."""

    inner: FieldType

    def violation(self, value: Any, path: str) -> Violation | None:
        """Not a list or tuple, too long, or a wrong entry."""
        if not isinstance(value, tuple | list) or len(value) > MOST_KEYS:
            return Violation(path, value, f"a list of at most {MOST_KEYS} entries")
        violations = (self.inner.violation(entry, f"{path}[{index}]") for index, entry in enumerate(value))
        return next((violation for violation in violations if violation is not None), None)

    def build(self, value: Any) -> Any:
        """A tuple."""
        return tuple(map(self.inner.build, value))

    def plain(self, value: Any) -> Any:
        """A list."""
        return [self.inner.plain(entry) for entry in value]


@dataclass(frozen=True)
class MapOf:
    """A mapping from texts to one type."""

    inner: FieldType
    keys: Keys

    def violation(self, value: Any, path: str) -> Violation | None:
        """Not a mapping, too many or wrong keys, or a wrong entry."""
        if not isinstance(value, Mapping):
            return Violation(path, value, "a mapping")
        for key, entry in value.items():
            found = _wrong_key(value, key, path, self.keys.names) or self.inner.violation(entry, f"{path}.{key}")
            if found is not None:
                return found
        return None

    def build(self, value: Any) -> Any:
        """A dictionary."""
        return {key: self.inner.build(entry) for key, entry in value.items()}

    def plain(self, value: Any) -> Any:
        """A dictionary."""
        return {key: self.inner.plain(entry) for key, entry in value.items()}


def _wrong_key(value: Mapping[Any, Any], key: object, path: str, names: tuple[str, ...] = ()) -> Violation | None:
    """Too many keys, or one that is no short text or not a valid one."""
    if len(value) > MOST_KEYS:
        return Violation(f"the number of keys of {path}", len(value), f"at most {MOST_KEYS}")
    if not isinstance(key, str) or len(key) > LONGEST_KEY:
        return Violation(f"a key of {path}", key, f"a text of at most {LONGEST_KEY} characters")
    if names and key not in names:
        return Violation(f"a key of {path}", key, f"one of {', '.join(names)}")
    return None


@dataclass(frozen=True)
class NestedMap:
    """A mapping from texts to finite numbers, or to mappings of such."""

    number: FieldType
    non_negative: FieldType
    names: tuple[str, ...]
    """Keys whose numbers may not be negative."""
    depth: int = DEEPEST

    def violation(self, value: Any, path: str) -> Violation | None:
        """Not a mapping, too many or too long keys, too deep, or a wrong number."""
        if not isinstance(value, Mapping) or self.depth == 0:
            return Violation(path, value, "a mapping" if self.depth else f"a number: {DEEPEST} levels are the most")
        for key, entry in value.items():
            found = _wrong_key(value, key, path)
            if found is None and isinstance(entry, Mapping):
                found = replace(self, depth=self.depth - 1).violation(entry, f"{path}.{key}")
            elif found is None:
                found = (self.non_negative if key in self.names else self.number).violation(entry, f"{path}.{key}")
            if found is not None:
                return found
        return None

    def build(self, value: Any) -> Any:
        """The same numbers, as Python's."""
        return exact_numbers(value)

    def plain(self, value: Any) -> Any:
        """The same numbers, as Python's: a rule or an objective of the user's own may compute with others."""
        return exact_numbers(value)


@dataclass(frozen=True)
class Struct:
    """A dataclass, or plain values for all of its fields."""

    cls: type
    types: Mapping[str, FieldType]

    def violation(self, value: Any, path: str) -> Violation | None:
        """Neither a mapping with the right keys nor an instance, or a wrong field."""
        given = vars(value) if isinstance(value, self.cls) else value  # another version's instance may lack fields
        if not isinstance(given, Mapping):
            return Violation(path, value, "a mapping")
        wrong = self._wrong_keys(given)
        if wrong:
            valid = "a mapping with the keys" if given is value else f"a {self.cls.__name__} with the fields"
            return Violation(path, value, f"{valid} {sorted(self.types)} ({wrong})")
        prefix = f"{path}." if path else ""
        for name, kind in self.types.items():
            held = given[name]
            if isinstance(kind, Number) and type(held) is kind.usual and kind.least <= held <= kind.most:
                continue  # by far the most
            violation = kind.violation(held, prefix + name)
            if violation is not None:
                return violation
        return None

    def build(self, value: Any) -> Any:
        """An instance of the dataclass."""
        if isinstance(value, self.cls):
            return value
        return self.cls(**{name: _built(kind, value[name]) for name, kind in self.types.items()})

    def plain(self, value: Any) -> Any:
        """A dictionary of plain values."""
        held = vars(value)
        types = self.types.items()
        return {name: held[name] if isinstance(kind, Number) else kind.plain(held[name]) for name, kind in types}

    def _wrong_keys(self, value: Mapping[Any, Any]) -> str:
        if value.keys() == self.types.keys():
            return ""
        missing = [name for name in self.types if name not in value]
        unknown = [key for key in islice(value, MOST_KEYS) if key not in self.types]
        lists = (("missing", missing), ("unknown", unknown))
        return "; ".join(f"{what}: {_some(names)}" for what, names in lists if names)


def _built(kind: FieldType, held: Any) -> Any:
    if isinstance(kind, Number) and type(held) is kind.usual:
        return held  # by far the most
    return kind.build(held)


def _some(names: Sequence[object]) -> str:
    return ", ".join(map(shown, names[:3])) + (", …" if len(names) > 3 else "")


