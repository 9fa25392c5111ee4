"""RLlib driven by the controller: PPO, APPO, IMPALA and SAC on the new API stack, with torch."""

from maxent_ray.extras import require_version

# before RLlib's modules load: an older Ray has other ones, and a Ray without its extra lacks what they import
require_version("ray", "2.60", "rllib")
require_version("gymnasium", "1.0", "rllib")
require_version("dm-tree", "0.1", "rllib")

from maxent_ray.rllib.algorithm_config import control  # noqa: E402
from maxent_ray.rllib.recording import record  # noqa: E402

__all__ = ["control", "record"]
