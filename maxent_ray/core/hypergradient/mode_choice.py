"""Choice of a mode by memory: a pure rule, so that it can be tested and explained."""

from __future__ import annotations

from typing import NamedTuple

from maxent_ray.core.hypergradient.interface import Mode
from maxent_ray.errors import HypergradientError

USABLE_SHARE = 0.5
"""Share of the free memory that the unroll may use; estimates are rough, and other processes need memory too."""
_TANGENT_SETS = 4
"""Sets of parameters that forward mode carries: two tangents and their changes."""
SECOND_ORDER_GRAPH = 3.0
"""Size of the graph of a gradient, in activations of one loss (measured on the embedded policy: 2.6)."""
_WORKING_ACTIVATIONS = 1.5
"""Memory of a backward pass through such a graph, beside it, in activations of one loss."""


class ModeChoice(NamedTuple):
    """A mode, with or without checkpointing, and the reason for it.

    Example:
        >>> choose_mode(16, parameter_bytes=10**9, activation_bytes=10**9, free_bytes=3 * 10**10).mode
        'forward'
    """

    mode: Mode
    checkpoint: bool
    reason: str


def choose_mode(steps: int, parameter_bytes: int, activation_bytes: int, free_bytes: int) -> ModeChoice:
    """Take the fastest exact mode that fits in half of the free memory, else first order.

    With P bytes of parameters and A of activations of one loss, the graph of one gradient takes about S = 3 A. Beside
    a few sets of parameters (θ, gradient, adjoint) and 1.5 A to work with, ``reverse`` needs K (S + P);
    checkpointed, S + K P; ``forward``, S + 4 P for its two tangents and their changes. In time they cost about 3, 4
    and 5 times the plain steps. For K = 1 checkpoints save nothing, and ``first_order`` is exact, but no faster, and in
    the worker's own precision: it is taken where ``reverse`` does not fit.

    Args:
        steps: K ≥ 1.
        parameter_bytes: P.
        activation_bytes: A; what one inner loss keeps for its backward pass.
        free_bytes: Free memory of the device that the unroll runs on.

    Returns:
        The mode, whether to checkpoint, and why, in words.

    Raises:
        HypergradientError: ``steps`` < 1, or a negative size.

    Example:
        >>> choose_mode(4, parameter_bytes=2_000_000, activation_bytes=50_000_000, free_bytes=8_000_000_000)[:2]
        ('reverse', False)
    """
    if steps < 1:
        raise HypergradientError(f"steps is {steps}; it must be >= 1")
    for name, size in (("parameter", parameter_bytes), ("activation", activation_bytes), ("free", free_bytes)):
        if size < 0:
            raise HypergradientError(f"{name}_bytes is {size}; it must be >= 0")
    graph, usable = SECOND_ORDER_GRAPH * activation_bytes, USABLE_SHARE * free_bytes
    base = 4 * parameter_bytes + _WORKING_ACTIVATIONS * activation_bytes
    needs = {
        "reverse": base + steps * (graph + parameter_bytes),
        "reverse with checkpoints": base + graph + steps * parameter_bytes,
        "forward": base + graph + _TANGENT_SETS * parameter_bytes,
    }
    if steps == 1:
        needs = {"reverse": needs["reverse"]}
    room = f"{_gigabytes(usable)} of {_gigabytes(free_bytes)} GB free"
    refused: list[str] = []
    for name, need in needs.items():
        if need <= usable:
            why = f"{name} with K={steps} needs about {_gigabytes(need)} GB; it may use {room}"
            mode: Mode = "forward" if name == "forward" else "reverse"
            return ModeChoice(mode, name == "reverse with checkpoints", "; ".join([*refused, why]))
        refused.append(f"{name} would need about {_gigabytes(need)} GB")
    accuracy = "exact for K=1" if steps == 1 else f"approximate for K={steps}"
    return ModeChoice("first_order", False, f"{'; '.join(refused)}; it may use {room}; first_order is {accuracy}")


def smaller_mode(steps: int, mode: Mode, checkpoint: bool) -> ModeChoice | None:
    """Next mode with less memory after one that ran out of it; None when there is none.

    Example:
        >>> smaller_mode(4, "reverse", checkpoint=False).reason
        'keep only the parameters of each step'
    """
    if mode == "first_order":
        return None
    if steps == 1:
        return ModeChoice("first_order", False, "no second-order graph, and exact for K=1")
    if mode == "reverse" and not checkpoint:
        return ModeChoice("reverse", True, "keep only the parameters of each step")
    if mode == "reverse" and steps > _TANGENT_SETS:
        return ModeChoice("forward", False, "memory does not grow with K")
    return ModeChoice("first_order", False, "no second-order graph")


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.3g}"
