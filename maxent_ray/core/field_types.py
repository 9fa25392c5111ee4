"""What a field of a dataclass may hold: numbers, texts, mappings, lists and records of such, within limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, NamedTuple, Protocol

from maxent_ray.errors import InvalidReportError

LARGEST = 1e100
"""No number from outside may be as large: three of them still multiply to a float."""
LARGEST_COUNT = 2**53
"""Whole numbers up to here are exact as floats, too."""
MOST_KEYS, LONGEST_KEY, LONGEST_TEXT = 32, 64, 200
SHOWN = 60
"""Characters of a refused value that a message shows."""


class Within(NamedTuple):
    """A range for a number that is narrower than its type's: both ends are allowed."""

    least: float = -LARGEST
    most: float = LARGEST


class Entries(NamedTuple):
    """What a mapping may hold besides the limits that all have."""

    names: tuple[str, ...] = ()
    """The only keys there are; none given: any."""
    non_negative: tuple[str, ...] = ()
    """Numbers whose key ends with one of these (after the last dot) may not be negative."""


NonNegative = Annotated[float, Within(least=0.0)]
LogOfFloat = Annotated[float, Within(-746.0, 231.0)]
"""The natural logarithm of any positive float below :data:`LARGEST`, so that ``exp`` of it is one."""
LastStep = Annotated[int, Within(least=-1)]
"""A step that was done, −1 before the first."""


class Problem(NamedTuple):
    """The first thing that is wrong, and where."""

    path: str
    value: object
    valid: str

    def error(self) -> InvalidReportError:
        """The error that says so, in a message of bounded length."""
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


class Kind(Protocol):
    """What one declared type admits."""

    def problem(self, value: Any, path: str) -> Problem | None:
        """The first thing that is wrong with a value, if any."""

    def build(self, value: Any) -> Any:
        """The field's value, from plain values that have no problem."""

    def plain(self, value: Any) -> Any:
        """Inverse of :meth:`build`."""


@dataclass(frozen=True)
class Number:
    """A finite number in a range. A bool is none, though Python has it among the whole numbers."""

    whole: bool
    least: float
    most: float
    usual: type[Any]
    """The type that its values nearly always have."""

    def problem(self, value: Any, path: str) -> Problem | None:
        """Wrong type, not finite, or out of range."""
        kind = type(value)
        plain = kind is int or (kind is float and not self.whole)
        if (plain or self._is_number(value)) and self.least <= value <= self.most:  # comparisons with NaN are false
            return None
        return Problem(path, value, self._valid(value))

    def build(self, value: Any) -> Any:
        """A float where one was declared, also from a whole number."""
        return value if self.whole else float(value)

    def plain(self, value: Any) -> Any:
        """The same."""
        return value

    def _is_number(self, value: object) -> bool:
        """Subclasses too, such as numpy's float64."""
        return isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)

    def _valid(self, value: Any) -> str:
        ends = [f">= {self.least:g}"] if self.whole or self.least > -LARGEST else []
        if self._is_number(value) and abs(value) > self.most:
            ends.append(f"<= {self.most:g}" if ends else f"at most {self.most:g} in size")
        return " ".join(["a whole number" if self.whole else "a finite number", " and ".join(ends)]).rstrip()


@dataclass(frozen=True)
class Plain:
    """A text or a truth value."""

    kind: type

    def problem(self, value: Any, path: str) -> Problem | None:
        """Wrong type, or too long."""
        if isinstance(value, self.kind) and (not isinstance(value, str) or len(value) <= LONGEST_TEXT):
            return None
        return Problem(path, value, f"a text of at most {LONGEST_TEXT} characters" if self.kind is str else "a bool")

    def build(self, value: Any) -> Any:
        """The same."""
        return value

    def plain(self, value: Any) -> Any:
        """The same."""
        return value


@dataclass(frozen=True)
class Optional:
    """What another kind admits, or None."""

    inner: Kind

    def problem(self, value: Any, path: str) -> Problem | None:
        """As of the kind inside, unless it is None."""
        return None if value is None else self.inner.problem(value, path)

    def build(self, value: Any) -> Any:
        """None, or what the kind inside builds."""
        return None if value is None else self.inner.build(value)

    def plain(self, value: Any) -> Any:
        """None, or the plain value of what is there."""
        return None if value is None else self.inner.plain(value)


@dataclass(frozen=True)
class Items:
    """A list of one kind."""

    inner: Kind

    def problem(self, value: Any, path: str) -> Problem | None:
        """Not a list or tuple, too long, or a wrong entry."""
        if not isinstance(value, tuple | list) or len(value) > MOST_KEYS:
            return Problem(path, value, f"a list of at most {MOST_KEYS} entries")
        problems = (self.inner.problem(entry, f"{path}[{index}]") for index, entry in enumerate(value))
        return next((problem for problem in problems if problem is not None), None)

    def build(self, value: Any) -> Any:
        """A tuple."""
        return tuple(map(self.inner.build, value))

    def plain(self, value: Any) -> Any:
        """A list."""
        return [self.inner.plain(entry) for entry in value]


@dataclass(frozen=True)
class Table:
    """A mapping from texts to one kind."""

    inner: Kind
    entries: Entries

    def problem(self, value: Any, path: str) -> Problem | None:
        """Not a mapping, too many or wrong keys, or a wrong entry."""
        if not isinstance(value, Mapping):
            return Problem(path, value, "a mapping")
        if len(value) > MOST_KEYS:
            return Problem(f"the number of keys of {path}", len(value), f"at most {MOST_KEYS}")
        for key, entry in value.items():
            if not isinstance(key, str) or len(key) > LONGEST_KEY:
                return Problem(f"a key of {path}", key, f"a text of at most {LONGEST_KEY} characters")
            if self.entries.names and key not in self.entries.names:
                return Problem(f"a key of {path}", key, f"one of {', '.join(self.entries.names)}")
            problem = self.inner.problem(entry, f"{path}.{key}")
            if problem is not None:
                return problem
            if key.rpartition(".")[2] in self.entries.non_negative and entry < 0:
                return Problem(f"{path}.{key}", entry, "a finite number >= 0")
        return None

    def build(self, value: Any) -> Any:
        """A dictionary."""
        return {key: self.inner.build(entry) for key, entry in value.items()}

    def plain(self, value: Any) -> Any:
        """A dictionary."""
        return {key: self.inner.plain(entry) for key, entry in value.items()}


@dataclass(frozen=True)
class Record:
    """A dataclass, or plain values for all of its fields."""

    cls: type
    kinds: Mapping[str, Kind]

    def problem(self, value: Any, path: str) -> Problem | None:
        """Neither a mapping with the right keys nor an instance, or a wrong field."""
        given = vars(value) if isinstance(value, self.cls) else value  # another version's instance may lack fields
        if not isinstance(given, Mapping):
            return Problem(path, value, "a mapping")
        wrong = self._wrong_keys(given)
        if wrong:
            valid = "a mapping with the keys" if given is value else f"a {self.cls.__name__} with the fields"
            return Problem(path, value, f"{valid} {sorted(self.kinds)} ({wrong})")
        prefix = f"{path}." if path else ""
        for name, kind in self.kinds.items():
            held = given[name]
            if isinstance(kind, Number) and type(held) is kind.usual and kind.least <= held <= kind.most:
                continue  # by far the most
            problem = kind.problem(held, prefix + name)
            if problem is not None:
                return problem
        return None

    def build(self, value: Any) -> Any:
        """An instance of the dataclass."""
        if isinstance(value, self.cls):
            return value
        kinds = self.kinds.items()  # a float is what it is wherever it is valid
        return self.cls(**{n: held if type(held := value[n]) is float else kind.build(held) for n, kind in kinds})

    def plain(self, value: Any) -> Any:
        """A dictionary of plain values."""
        held = vars(value)
        kinds = self.kinds.items()
        return {name: held[name] if isinstance(kind, Number) else kind.plain(held[name]) for name, kind in kinds}

    def _wrong_keys(self, value: Mapping[Any, Any]) -> str:
        if value.keys() == self.kinds.keys():
            return ""
        missing = [name for name in self.kinds if name not in value]
        unknown = [key for key in islice(value, MOST_KEYS) if key not in self.kinds]
        lists = (("missing", missing), ("unknown", unknown))
        return "; ".join(f"{what}: {_some(names)}" for what, names in lists if names)


def _some(names: Sequence[object]) -> str:
    return ", ".join(map(shown, names[:3])) + (", …" if len(names) > 3 else "")


