"""Upgrades of client states in older checkpoints: one function for each schema, which makes the next one of it.

Each function spells out the fields of its own two schemas: today's classes may change again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from maxent_ray.storage.checkpoint import SCHEMA

Values = Mapping[str, Any]
_COEFFICIENTS = ("tau", "beta")
_EMPTY_TREND = {"count": 0, "mean": 0.0, "squares": 0.0, "products": 0.0, "bends": 0.0}
_EMPTY_WATCH = {
    "settings": 0,
    "errors": _EMPTY_TREND,
    "logs": _EMPTY_TREND,
    "in_dead_band": 0,
    "standing": {"side": 0, "free": 0},
    "outside": _EMPTY_TREND,
    "other_log": 0.0,
    "said": {},
}
"""Memory of one coefficient's alarms in schemas 2 and 3."""
_NO_GROUPS = {
    "informative_groups": 0,
    "solved_groups": 0,
    "informative_weight_entropy_sum": 0.0,
    "mode_entropy_sum": 0.0,
    "informative_entropy_tau_sum": 0.0,
    "informative_entropy_beta_sum": 0.0,
    "ranged_informative_groups": 0,
    "informative_entropy_at_tau_min_sum": 0.0,
    "informative_entropy_at_tau_max_sum": 0.0,
}
"""Statistics that schema 4 did not have: measured on no group, so that either signal may be tracked from here on."""
_LONG_AGO = 1_000_000
"""Steps since the way of a set point began, where a schema had none."""
_TRUSTED = {"tau_confidence": 1.0, "beta_confidence": 1.0}
"""Confidence in the directions of gradients, which schema 5 did not have."""
_EMPTY_INFORMATIVE = {
    "fingerprint": 0,
    "gaps": {"count": 0, "mean": 0.0, "squares": 0.0, "products": 0.0, "curvature_products": 0.0},
    "raised": -1,
}


def upgrade_client_state(client_state: Values, schema: int) -> Values:
    """Bring a client's ``state_dict()`` of an older schema to today's form.

    Args:
        client_state: From a checkpoint whose checksum fits; left as it is.
        schema: The schema of that checkpoint, at most today's.

    Example:
        >>> today = {"state": {}, "recent_coefficients": [], "pending": None, "alarms": None}
        >>> upgrade_client_state(today, SCHEMA) == today
        True
    """
    for older in range(schema, SCHEMA):
        client_state = _UPGRADES[older](client_state)
    return client_state


def _from_1(client_state: Values) -> Values:
    """Replace the blocks and the counts at a bound by empty windows; alarms raised before are not raised again."""
    state = {name: value for name, value in client_state["state"].items() if name != "saturated"}
    for name in ("tau_watch", "beta_watch"):
        state[name] = {**_EMPTY_WATCH, **{kept: state[name][kept] for kept in ("settings", "said")}}
    return {**client_state, "state": state}


def _from_2(client_state: Values) -> Values:
    """Move the alarms' memory out of the controller's state, and drop the counts of reasons; nothing was pending."""
    watches = {name: client_state["state"][f"{name}_watch"] for name in _COEFFICIENTS}
    dropped = {"tau_watch", "beta_watch", "reasons"}
    return {
        "state": {name: value for name, value in client_state["state"].items() if name not in dropped},
        "answered": client_state["answered"][-2:],  # an outage kept more
        "pending": None,
        "alarms": {name: {kept: watch[kept] for kept in _EMPTY_WATCH} for name, watch in watches.items()},
    }


def _from_3(client_state: Values) -> Values:
    """Nest the memories of rules and objectives; rename the last rounds' coefficients and the alarms' memory."""
    alarms = client_state["alarms"]
    return {
        "state": _with_nested_memories(client_state["state"]),
        "recent_coefficients": client_state["answered"],
        "pending": client_state["pending"],
        "alarms": alarms and {name: _detector_state(alarms[name]) for name in _COEFFICIENTS},
    }


def _from_4(client_state: Values) -> Values:
    """Add sums over informative and solved groups, of which there were none, and the memory of one more alarm.

    Both set points have arrived, as they jumped to their targets. Rules that now have a limit owe nothing.
    """
    arrived = {"start": None, "progress": _LONG_AGO, "target_checksum": None}
    state, pending, alarms = (client_state[name] for name in ("state", "pending", "alarms"))
    if pending is not None and pending["statistics"] is not None:
        pending = {**pending, "statistics": {**pending["statistics"], **_NO_GROUPS}}
    return {
        **client_state,
        "state": {
            **state,
            "window": {**state["window"], **_NO_GROUPS},
            "entropy_set_point": arrived,
            "kl_set_point": arrived,
        },
        "pending": pending,
        "alarms": alarms and {**alarms, "informative": _EMPTY_INFORMATIVE},
    }


def _from_5(client_state: Values) -> Values:
    """Trust the directions of pending gradients in full, as that schema did."""
    pending = client_state["pending"]
    if pending is not None and pending["gradients"] is not None:
        pending = {**pending, "gradients": {**pending["gradients"], **_TRUSTED}}
    return {**client_state, "pending": pending}


def _with_nested_memories(state: Values) -> Values:
    """Rules' states were flat (``step.velocity``), and two forms had memories under names of their own."""
    nested: dict[str, Any] = {name: {} for name in ("tau_rule", "beta_rule")}
    for name, entries in nested.items():
        for key, value in state[name].items():
            part, _, entry = key.partition(".")
            entries.setdefault(part, {})[entry] = value
    memories = {"paired": state["sensitivities"], "decoupled": state["decoupling"]}
    kept = {name: value for name, value in state.items() if name not in ("sensitivities", "decoupling")}
    return {**kept, **nested, "objective": memories}


def _detector_state(watch: Values) -> Values:
    """Schema 4's name of every field in the memory of one coefficient's alarms."""
    return {
        "fingerprint": watch["settings"],
        "errors": _trend(watch["errors"]),
        "log_values": _trend(watch["logs"]),
        "in_dead_band": watch["in_dead_band"],
        "contact": {"side": watch["standing"]["side"], "free_updates": watch["standing"]["free"]},
        "reach_gap": _trend(watch["outside"]),
        "other_log": watch["other_log"],
        "raised": watch["said"],
    }


def _trend(trend: Values) -> Values:
    return {"curvature_products" if name == "bends" else name: value for name, value in trend.items()}


_UPGRADES: Mapping[int, Callable[[Values], Values]] = {1: _from_1, 2: _from_2, 3: _from_3, 4: _from_4, 5: _from_5}
"""Schema → function that makes the next one of it."""
