"""RLlib driven by the controller: PPO, APPO, IMPALA and SAC on the new API stack, with torch."""

from maxent_ray.rllib.ray_version import check_ray_version

check_ray_version()  # before RLlib's modules load: an older Ray has other ones

from maxent_ray.rllib.algorithm_config import control  # noqa: E402
from maxent_ray.rllib.recording import record  # noqa: E402

__all__ = ["control", "record"]
