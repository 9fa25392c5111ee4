"""Configuration files as YAML: quoted text is text; what has no quotes is left for its field to read."""

from __future__ import annotations

import re
from collections.abc import Container
from types import NoneType
from typing import Any

import yaml

from maxent_ray.errors import ConfigError

_UNQUOTED = "tag:maxent_ray,2026:unquoted"
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,4000}|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(r"(?=.*[.eE])[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Unquoted(str):
    """A value as it was typed, without quotes: what it is depends on the field that it is for."""


class _Loader(yaml.SafeLoader):
    """Leaves what has no quotes and no tag as it was typed, but for null; a key that is given twice is an error."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own name and type
        "<": [("tag:yaml.org,2002:merge", re.compile(r"<<\Z"))],
        **{first: [("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z"))] for first in ("", *"~nN")},
        None: [(_UNQUOTED, re.compile(""))],
    }

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Refuse a second value for a key, of which only the last would count."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key.value, str) and key.value != "<<" else id(key)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {name!r} is given twice", problem_mark=key.start_mark)
            seen.add(name)
        return node


_Loader.add_constructor(_UNQUOTED, lambda _, node: Unquoted(node.value))


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.1 or we would read as something else."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def read_yaml(text: str | bytes, source: str) -> Any:
    """Read one document; values without quotes are :class:`Unquoted`.

    Args:
        text: In UTF-8, if it is bytes.
        source: Where it is from, for messages.

    Raises:
        ConfigError: it is not valid YAML, or gives a key twice; the message has the line.

    Example:
        >>> read_yaml("{model: 2024, name: '2024'}", "run.yaml")
        {'model': '2024', 'name': '2024'}
        >>> read_yaml("{steps: 1, steps: 2}", "run.yaml")
        Traceback (most recent call last):
        ...
        maxent_ray.errors.ConfigError: run.yaml is not valid YAML: the key 'steps' is given twice (line 1, column 12)
    """
    try:
        loader = _Loader(text)
        loader.deep_construct = True  # an anchor inside itself is an error here, and not an endless value later
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        reason, mark = ", ".join(filter(None, (error.context, error.problem))), error.problem_mark
        where = "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"
        raise ConfigError(f"{source} is not valid YAML: {reason}{where}") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{source} is not valid YAML in UTF-8: {reason}") from None
    except RecursionError:
        raise ConfigError(f"{source} is nested too deeply") from None


def write_yaml(values: Any) -> bytes:
    """Text of plain values; :func:`read_yaml` and the fields read the same ones."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False)
    return text.encode()


def read_unquoted(text: str, kinds: Container[Any], place: str) -> Any:
    """Read a value as what its field holds: text as it was typed where the field is text, else as YAML 1.2 has it.

    Args:
        text: As typed.
        kinds: Types of the field, values that it names, and ``Any`` where it is free.
        place: The field, for messages.

    Raises:
        ConfigError: the field is free, and earlier YAML and today's read the value differently.

    Example:
        >>> read_unquoted("2024", {str}, "policy.model"), read_unquoted("1e-4", {float}, "grpo.learning_rate")
        ('2024', 0.0001)
        >>> read_unquoted("no", {bool}, "tune.references"), read_unquoted("no", {str}, "policy.model")
        (False, 'no')
    """
    if text in kinds or (str in kinds and not (NoneType in kinds and _CONSTANTS.get(text, text) is None)):
        return str(text)
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if bool in kinds and text.lower() in _Loader.bool_values:
        return _Loader.bool_values[text.lower()]
    digits = re.sub(r"(?<=[0-9])_(?=[0-9])", "", text) if int in kinds or float in kinds else text
    if _WHOLE.match(digits):
        return int(digits, 0)
    if _FLOAT.match(digits) or _NOT_FINITE.match(text):
        return float(re.sub(r"\.(?=[inIN])", "", digits))
    if Any in kinds and _is_read_differently(text):
        valid = f"write '{text}' with its quotes, or a number, true, false or null"
        raise ConfigError(f"{place} is {text}, which is text to some readers of YAML and not to others; {valid}")
    return str(text)


def _is_read_differently(text: str) -> bool:
    """True for ``no``, ``017``, ``1_000``, ``12:30`` and ``2024-05-01``, which are no text in YAML 1.1."""
    resolvers = _Dumper.yaml_implicit_resolvers.get(text[:1], ())
    return any(pattern.match(text) for _, pattern in resolvers)
