"""TRL's GRPOTrainer, driven by the controller: a callback for its own loss, and a trainer with group weights."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("trl") is None:
    raise ModuleNotFoundError("maxent_ray.integrations.trl needs TRL: pip install 'maxent-ray[trl]'", name="trl")

from maxent_ray.integrations.trl.callback import MaxEntCallback
from maxent_ray.integrations.trl.listwise import MaxEntGRPOTrainer

__all__ = ["MaxEntCallback", "MaxEntGRPOTrainer"]
