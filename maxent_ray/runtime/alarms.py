"""Alarms of a decision, as warnings in the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any


def announce(decision: Mapping[str, Any], logger: logging.Logger) -> None:
    """Log one warning for every alarm of a ``Decision.to_dict()``; most decisions have none.

    One rank calls it, once a decision: all ranks get the same ones.

    Example:
        >>> announce({"step": 3, "alarms": ()}, logging.getLogger("maxent_ray"))
    """
    for alarm in decision["alarms"]:
        logger.warning("step %d: %s [%s]", decision["step"], alarm["message"], alarm["kind"])
