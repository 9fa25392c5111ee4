"""Reward ``math_verify``: numbers and expressions of a text against a column, by the package math-verify.

Only its reader of LaTeX is used, a grammar: its reader of plain expressions would evaluate them as Python. Plain
numbers are found here, and read as LaTeX.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from maxent_ray.core.field_types import shown

LIMIT_S = 5
"""Seconds to read or to compare one answer; one that takes longer is wrong."""
_LATEX = re.compile(r"\$|\\boxed|\\\(|\\\[")
_PLAIN = re.compile(r"-?[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?")


def math_verify(completions: Sequence[Any], answer: Sequence[Any], **columns: Any) -> list[float]:
    r"""1 for an answer that equals the one in the column ``answer``, else 0.

    An answer is the LaTeX of a text (``$…$``, ``\boxed{…}``), or its last plain number where there is none.

    Raises:
        ValueError: the column holds nothing that can be read.

    Example:
        >>> math_verify(["so $\\frac{1}{2}$", "0.5", "The answer is 3."], ["1/2", 0.5, "$4$"])
        [1.0, 1.0, 0.0]
    """
    expected = {given: _expected(given) for given in set(map(str, answer))}
    return [
        float(_equals(expected[str(given)], _text(completion)))
        for completion, given in zip(completions, answer, strict=True)
    ]


def _expected(given: str) -> list[Any]:
    found = _parse(given if _LATEX.search(given) else f"${given}$") or read_expressions(given)
    if not found:
        raise ValueError(f"the column answer holds {shown(given)}, in which there is no number or expression")
    return found


def read_expressions(text: str) -> list[Any]:
    """Expressions of sympy that a text holds; none where it cannot be read.

    Example:
        >>> read_expressions("1,000 or 2,000"), read_expressions("no number")
        ([2000], [])
    """
    if _LATEX.search(text):
        return _parse(text)
    plain = _PLAIN.findall(text)
    return _parse(f"${plain[-1].replace(',', '')}$") if plain else []


def _parse(latex: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    found: list[Any] = parse(
        latex,
        extraction_config=[LatexExtractionConfig()],
        fallback_mode="no_fallback",  # else texts, which are compared after a reading of them as Python
        parsing_timeout=LIMIT_S,
    )
    return found


def _equals(expected: list[Any], text: str) -> bool:
    from math_verify import verify

    found = read_expressions(text)
    return bool(found) and bool(verify(expected, found, timeout_seconds=LIMIT_S))


def _text(completion: Any) -> str:
    """The text of an answer, also where it is a chat's message."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])
