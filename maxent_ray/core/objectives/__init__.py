"""Controller objectives: from measurements to the two error signals that move τ and β."""

from maxent_ray.core.objectives.analytic import Analytic, AnalyticControllerObjective
from maxent_ray.core.objectives.decoupled import Decoupled
from maxent_ray.core.objectives.interface import ControllerGradients, ControllerMetaContext, ControllerObjective
from maxent_ray.core.objectives.joint import Joint
from maxent_ray.core.objectives.paired import Paired
from maxent_ray.core.objectives.published import ANALYTIC_METHODS, TRUNCATED_METHODS, build_controller_objective
from maxent_ray.core.objectives.sensitivity import Sensitivity
from maxent_ray.core.objectives.settings import CustomObjective, ObjectiveSettings, TruncatedBackprop
from maxent_ray.core.objectives.settings_base import Unroll
from maxent_ray.core.objectives.truncated_backprop import TruncatedBackpropControllerObjective

__all__ = [
    "ANALYTIC_METHODS",
    "TRUNCATED_METHODS",
    "Analytic",
    "AnalyticControllerObjective",
    "ControllerGradients",
    "ControllerMetaContext",
    "ControllerObjective",
    "CustomObjective",
    "Decoupled",
    "Joint",
    "ObjectiveSettings",
    "Paired",
    "Sensitivity",
    "TruncatedBackprop",
    "TruncatedBackpropControllerObjective",
    "Unroll",
    "build_controller_objective",
]
