"""Interface of a trial to schedulers, recorder and execution: its name, stratum and values, and how it is cloned.

Ray Tune carries a trial's settings in ``trial.config`` and nowhere else; :class:`FlatMember` is a description that
travels there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, Self

_FIELDS = ("trial", "objective", "segment", "round", "settings")
_JSON = ("{", '"')
"""Beginnings of values that travel as JSON."""


class ResultKeys(NamedTuple):
    """Keys of a result that schedulers read, and those that they do not keep."""

    time: str = "steps"
    """Progress, which perturbation intervals are counted in."""
    score: str = "score"
    """Higher is better."""
    records: tuple[str, ...] = ("rows", "decisions")
    """Records, which a result hands to the recorder."""


RESULT_KEYS = ResultKeys()
"""Keys of the results of trials that the recorder records."""


class Member(Protocol):
    """A trial as schedulers know it."""

    @property
    def trial(self) -> str:
        """Short stable name; a clone keeps the recipient's."""

    @property
    def objective(self) -> str:
        """Objective, which is its stratum."""

    @property
    def values(self) -> Mapping[str, Any]:
        """Dotted key of the search space → this trial's value."""

    @property
    def segment(self) -> int:
        """Clones received so far."""

    @property
    def round(self) -> int:
        """Perturbations that its population has gone through."""

    @property
    def is_reference(self) -> bool:
        """True for a trial outside all strata: it is never cloned, and trains to its end."""

    @property
    def steps(self) -> int:
        """Steps in all."""

    @property
    def names(self) -> Sequence[str]:
        """Names that it has in the records: its own, or one for each module of several that it trains."""

    @property
    def reported_settings(self) -> Mapping[str, Any]:
        """Settings that set it apart from other trials."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        """All settings in which it differs from the run's, those of its objective included."""

    def check(self) -> None:
        """Check that the values are valid together.

        Raises:
            ConfigError: they are not.
        """

    def cloned_from(self, donor: Self, values: Mapping[str, Any]) -> Self:
        """Take over a donor's objective, with perturbed values."""

    def at_round(self, number: int) -> Self:
        """The same trial after so many perturbations of its population."""

    def to_config(self) -> dict[str, Any]:
        """Convert to a flat ``trial.config``."""


ReadMember = Callable[[Mapping[str, Any]], Member]
"""Reads ``trial.config`` back."""


@dataclass(frozen=True)
class FlatMember:
    """One trial, as flat values.

    Example:
        >>> member = FlatMember("analytic-0", "analytic", "{}", {"controller.target_kl": 0.05})
        >>> FlatMember.from_config(member.to_config()) == member
        True
    """

    trial: str
    """Short stable name, such as ``analytic-0``; a clone keeps the recipient's."""
    objective: str
    """Its stratum, or the name of a reference."""
    settings: str
    """The settings that all trials share, as JSON."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Dotted key → this trial's value."""
    segment: int = 0
    """Clones received so far."""
    round: int = 0
    """Perturbations that this trial's population has gone through."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read ``trial.config`` back."""
        values = {key: _decoded(value) for key, value in config.items() if key not in _FIELDS}
        return cls(values=values, **{key: config[key] for key in _FIELDS})

    def to_config(self) -> dict[str, Any]:
        """Convert to a flat ``trial.config``: Tune would search inside a mapping, so one travels as JSON."""
        values = {key: _encoded(value) for key, value in self.values.items()}
        return {**{key: self.__dict__[key] for key in _FIELDS}, **values}

    @property
    def names(self) -> Sequence[str]:
        """Names that it has in the records."""
        return (self.trial,)

    def cloned_from(self, donor: Self, values: Mapping[str, Any]) -> Self:
        """Take over a donor's objective, with perturbed values."""
        return replace(self, objective=donor.objective, values=dict(values), segment=self.segment + 1)

    def at_round(self, number: int) -> Self:
        """The same trial after so many perturbations of its population."""
        return replace(self, round=number)


def _encoded(value: Any) -> Any:
    """A mapping as JSON, and with it every text that would be taken for JSON."""
    is_like_json = isinstance(value, str) and value.startswith(_JSON)
    return json.dumps(value) if isinstance(value, Mapping) or is_like_json else value


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value.startswith(_JSON) else value
