"""Settings of an experiment: typed and closed, read from YAML and ``section.key=value`` overrides."""

from maxent_ray.config.domains import Choice, Domain, LogUniform, Uniform
from maxent_ray.config.loading import apply_overrides, build_config, dump_config, load_config, with_overrides
from maxent_ray.config.published import ControllerMetaSettings, WeightingSettings
from maxent_ray.config.recorded import RecordedConfig, load_recorded
from maxent_ray.config.rllib_settings import AlgorithmSettings, RLlibConfig, RLlibTrainSettings, RLlibTuneSettings
from maxent_ray.config.section import Section
from maxent_ray.config.settings import (
    EvaluationSettings,
    ExperimentConfig,
    GRPOConfig,
    LoRASettings,
    PolicySettings,
    PopulationSettings,
    TaskSettings,
    TrainSettings,
    TuneSettings,
)

__all__ = [
    "AlgorithmSettings",
    "Choice",
    "ControllerMetaSettings",
    "Domain",
    "EvaluationSettings",
    "ExperimentConfig",
    "GRPOConfig",
    "LoRASettings",
    "LogUniform",
    "PolicySettings",
    "PopulationSettings",
    "RLlibConfig",
    "RLlibTrainSettings",
    "RLlibTuneSettings",
    "RecordedConfig",
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
    "load_recorded",
    "with_overrides",
]
