"""Settings of an experiment: typed and closed, read from YAML and ``section.key=value`` overrides."""

from maxent_ray.config.loading import apply_overrides, build_config, dump_config, load_config, with_overrides
from maxent_ray.config.settings import (
    Choice,
    ControllerMetaSettings,
    Domain,
    EvaluationSettings,
    ExperimentConfig,
    GRPOConfig,
    LogUniform,
    PolicySettings,
    RuntimeSettings,
    Section,
    TaskSettings,
    TrainSettings,
    TuneSettings,
    Uniform,
    WeightingSettings,
)

__all__ = [
    "Choice",
    "ControllerMetaSettings",
    "Domain",
    "EvaluationSettings",
    "ExperimentConfig",
    "GRPOConfig",
    "LogUniform",
    "PolicySettings",
    "RuntimeSettings",
    "Section",
    "TaskSettings",
    "TrainSettings",
    "TuneSettings",
    "Uniform",
    "WeightingSettings",
    "apply_overrides",
    "build_config",
    "dump_config",
    "load_config",
    "with_overrides",
]
