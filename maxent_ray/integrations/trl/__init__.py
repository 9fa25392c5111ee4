"""TRL's GRPOTrainer, driven by the controller: a callback for its own loss, and a trainer with group weights."""

from __future__ import annotations

from maxent_ray.extras import require_version

require_version("trl", "1.16", "trl")  # before its modules load: attributes that are read here may be missing

from maxent_ray.integrations.trl.callback import MaxEntCallback  # noqa: E402
from maxent_ray.integrations.trl.listwise import MaxEntGRPOTrainer  # noqa: E402

__all__ = ["MaxEntCallback", "MaxEntGRPOTrainer"]
