"""TRL's GRPOTrainer, driven by the controller: a callback for its own loss, and a trainer with group weights."""

from __future__ import annotations

from maxent_ray.integrations.trl.callback import MaxEntCallback
from maxent_ray.integrations.trl.listwise import MaxEntGRPOTrainer

__all__ = ["MaxEntCallback", "MaxEntGRPOTrainer"]
