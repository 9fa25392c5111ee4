"""Relative errors: the one definition that rules, objectives, alarms, metrics, reports and the page share."""

from __future__ import annotations

import math
from typing import Any, Protocol, TypeVar, overload


class Quantity(Protocol):
    """A number, or an array of them."""

    def __sub__(self, other: Any, /) -> Any: ...

    def __truediv__(self, other: Any, /) -> Any: ...


Q = TypeVar("Q", bound=Quantity)


@overload
def relative_error(value: Q, target: Q, scale: Q) -> Q: ...


@overload
def relative_error(value: Q | None, target: Q | None, scale: Q | None) -> Q | None: ...


def relative_error(value: Any, target: Any, scale: Any) -> Any:
    """(value − target)/scale; None where one of them is not known.

    Args:
        value: A signal (nats); an array of them is taken element by element.
        target: Its target.
        scale: Error that counts as 100 %, > 0: of KL its target, of H the controller's ``entropy_scale``.

    Example:
        >>> relative_error(1.5, 2.0, 2.0), relative_error(-0.5, -1.0, 1.0), relative_error(1.5, None, None)
        (-0.25, 0.5, None)
    """
    if value is None or target is None or scale is None:
        return None
    return (value - target) / scale


def usual_scale(target: float) -> float:
    """Scale of errors where none was set: the target, or 1 nat if it is not above 0, as of differential entropies.

    Example:
        >>> usual_scale(2.0), usual_scale(-1.5)
        (2.0, 1.0)
    """
    return target if target > 0 else 1.0


def log_error(kl: float | None, target: float) -> float | None:
    """ln(KL*/KL), which rises with ln β; None where there is none. KL may be 0 or below, and counts as KL*/1000 there.

    Example:
        >>> log_error(0.1, target=0.1), round(log_error(0.0, target=0.1), 2), log_error(0.1, target=0.0)
        (-0.0, 6.91, None)
    """
    if kl is None or target <= 0:
        return None
    return -math.log(max(kl / target, 1e-3))
