"""Settings of a recorded run, of our own trainer or of RLlib, as its ``config.yaml`` has them."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from maxent_ray.config.loading import build_config
from maxent_ray.config.messages import refusals
from maxent_ray.config.reading import read_file
from maxent_ray.config.rllib_settings import RLlibConfig
from maxent_ray.config.settings import ExperimentConfig
from maxent_ray.errors import ConfigError

RecordedConfig = ExperimentConfig | RLlibConfig


def load_recorded(path: Path) -> RecordedConfig:
    """Read a ``config.yaml``; one with a section ``rllib`` is of a run of RLlib.

    Raises:
        ConfigError: it is missing, not YAML, or has settings that this version does not know.
    """
    values = read_file(path)
    if "rllib" not in values:
        return build_config(values, checked=True)
    try:
        return RLlibConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(refusals(error, values)) from None
