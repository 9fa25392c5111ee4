"""Numbers and lists as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

DASH = "–"
"""Text of a value that is not known."""


def significant(value: float | None) -> str:
    """Write three significant digits in at most seven characters.

    Example:
        >>> significant(0.29871), significant(0.00012345), significant(41.27), significant(None)
        ('0.299', '0.00012', '41.3', '–')
    """
    if value is None:
        return DASH
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.5f}" if abs(value) >= 1e-4 else f"{value:.0e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def fixed(value: float | None, decimals: int) -> str:
    """Write a fixed number of decimals.

    Example:
        >>> fixed(0.5, 3), fixed(None, 3)
        ('0.500', '–')
    """
    return DASH if value is None else f"{value:.{decimals}f}"


def percent(value: float | None) -> str:
    """Write a share in per cent.

    Example:
        >>> percent(0.0123), percent(None)
        ('1.2 %', '–')
    """
    return DASH if value is None else f"{100 * value:.1f} %"


def setting(value: object) -> str:
    """Write the value of a setting; of a whole rule its type, and the rest in brackets.

    Example:
        >>> setting(0.05), setting("adam"), setting(None), setting({"type": "adaptive_kl", "horizon": 20.0})
        ('0.050', 'adam', '–', 'adaptive_kl (horizon 20.0)')
    """
    if isinstance(value, Mapping):
        rest = ", ".join(f"{name} {setting(each)}" for name, each in value.items() if name != "type")
        return f"{value.get('type', '')} ({rest})".strip() if rest else str(value.get("type", DASH))
    return significant(value) if isinstance(value, float) else DASH if value is None else str(value)


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does.

    Example:
        >>> listed(["a", "b", "c"]), listed(["a"])
        ('a, b and c', 'a')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
