"""Controller objectives: from measurements to the two error signals that move τ and β."""

from maxent_ray.core.objectives.analytic import AnalyticControllerObjective
from maxent_ray.core.objectives.interface import ControllerGradients, ControllerMetaContext, ControllerObjective
from maxent_ray.core.objectives.published import ANALYTIC_METHODS, TRUNCATED_METHODS, build_controller_objective
from maxent_ray.core.objectives.sensitivity import Sensitivity
from maxent_ray.core.objectives.truncated_backprop import TruncatedBackpropControllerObjective

__all__ = [
    "ANALYTIC_METHODS",
    "TRUNCATED_METHODS",
    "AnalyticControllerObjective",
    "ControllerGradients",
    "ControllerMetaContext",
    "ControllerObjective",
    "Sensitivity",
    "TruncatedBackpropControllerObjective",
    "build_controller_objective",
]
