"""Client states of older checkpoints, brought to today's form: one function for each schema that changed them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from maxent_ray.core.diagnostics.detector_state import Watch
from maxent_ray.core.validation import to_plain
from maxent_ray.storage.checkpoint import SCHEMA


def upgraded(client_state: Mapping[str, Any], schema: int) -> Mapping[str, Any]:
    """A client's ``state_dict()`` as it is today, from one of an older schema.

    Args:
        client_state: Of a checkpoint that was found to be whole.
        schema: That of the checkpoint, at most today's.

    Example:
        >>> today = {"state": {}, "answered": [], "pending": None, "alarms": None}
        >>> upgraded(today, SCHEMA) == today
        True
    """
    for older in range(schema, SCHEMA):
        client_state = _FROM[older](client_state)
    return client_state


def _watch_windows(client_state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Schema 1 watched the coefficients in blocks, and counted updates at a bound in the state itself.

    The watch begins anew; what was said before is not said again.
    """
    state = {name: value for name, value in client_state["state"].items() if name != "saturated"}
    for name in ("tau_watch", "beta_watch"):
        state[name] = {**to_plain(Watch()), **{kept: state[name][kept] for kept in ("settings", "said")}}
    return {**client_state, "state": state}


def _alarms_apart(client_state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Schema 2 kept the alarms' memory and counts of reasons in the controller's state; nothing was ever pending."""
    watches = {name: client_state["state"][f"{name}_watch"] for name in ("tau", "beta")}
    dropped = {"tau_watch", "beta_watch", "reasons"}
    fields = to_plain(Watch()).keys()
    return {
        "state": {name: value for name, value in client_state["state"].items() if name not in dropped},
        "answered": client_state["answered"][-2:],  # an outage kept more
        "pending": None,
        "alarms": {name: {kept: watch[kept] for kept in fields} for name, watch in watches.items()},
    }


def _nested_memories(client_state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Schema 3 kept rules' states flat (``step.velocity``), and memories of two forms under names of their own."""
    state = dict(client_state["state"])
    for name in ("tau_rule", "beta_rule"):
        nested: dict[str, dict[str, float]] = {}
        for key, value in state[name].items():
            part, _, entry = key.partition(".")
            nested.setdefault(part, {})[entry] = value
        state[name] = nested
    state["objective"] = {"paired": state.pop("sensitivities"), "decoupled": state.pop("decoupling")}
    return {**client_state, "state": state}


_FROM: Mapping[int, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    1: _watch_windows,
    2: _alarms_apart,
    3: _nested_memories,
}
"""Schema → what makes the next one of it."""
